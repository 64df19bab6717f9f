"""What `benchmarks.encoders` measures: encoders, heads on them, and what goes before.

`make` measures one cell. Ways that are compared stand in one process and take turns;
see `benchmarks.turns`. Torch has as many threads as there are cores. Weights are drawn
by transformers, written by it and read by `load_pretrained`, and what is exact is the
same in torch with float64 throughout.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import turns
from experiments.memory import keep_freed_memory
from kexue_jax.algorithms.linear_chain import log_likelihood, viterbi
from kexue_jax.algorithms.spans import Span, decode_batch, span_positives
from kexue_jax.attention.heads_first import heads_first_attention
from kexue_jax.data import fetch
from kexue_jax.data.prose import paragraphs, python_prose
from kexue_jax.data.reviews import read_reviews
from kexue_jax.data.vocabularies import vocabulary
from kexue_jax.data.wordpiece import WordPiece
from kexue_jax.nn.functional import functional
from kexue_jax.nn.global_pointer import GlobalPointer
from kexue_jax.nn.products import with_linear_products
from kexue_jax.pretrained import load_pretrained

LENGTH, MASKED, MASK, VOCABULARY = 128, 19, 103, 30522  # 15 % of 128 are masked
SIZES = {
    "small": dict(hidden_size=512, num_hidden_layers=4, num_attention_heads=8),
    "base": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12),
}
RATE, DECAY = 1e-4, 0.01
SQUARES = (1024, 2048)  # rows and columns of products that tell the peak
FEATURES, TYPES, HEAD, SPANS = 768, 10, 64, 20  # of GlobalPointer; SPANS a text
TAGS, ROWS, PLACES = 41, 16, 128  # of the chain
LETTERS = 1_000_000  # of text that is cut
TURN = 0.2  # seconds of a turn, where a run may be shorter


def package(name: str) -> Any:
    """Imports what `make peers` installs."""
    return import_module(name)


class Way(NamedTuple):
    """`run` does the work and waits for it; `check` gives the error of its result."""

    run: Callable[[], Any]
    check: Callable[[Any], float]


def make(kind: str, *, keeps: bool = False, **arguments: Any) -> dict[str, Any]:
    """Measures a cell: of each of its ways times, bytes, error and the ratio to ours.

    Args:
      kind: a name of `KINDS`.
      keeps: whether the process keeps freed memory, as those of `experiments` do.
      arguments: of the function of that name.
    """
    if keeps and not keep_freed_memory():
        raise RuntimeError("freed memory is not kept here: see experiments.memory")
    torch = package("torch")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return KINDS[kind](**arguments)


def compared(ways: dict[str, Way], rounds: int = 9) -> dict[str, Any]:
    """What is told of ways that make the same; "ours" is among them."""
    peaks, errors = {}, {}
    for name, way in ways.items():
        result, peaks[name] = turns.highest(way.run)
        errors[name] = way.check(result)
        del result
    runs = {name: way.run for name, way in ways.items()}
    found = turns.told(turns.in_turns(runs, rounds, seconds=TURN), "ours", peaks)
    for name, error in errors.items():
        found[name]["error"] = error
    return {"ways": found}


def apart(got: Sequence[Any], want: Sequence[Any]) -> float:
    """The largest deviation, in units of the largest entry of what is exact."""
    return max(
        float(np.abs(np.asarray(g) - w).max() / np.abs(w).max())
        for g, w in zip(got, want, strict=True)
    )


# The encoder: a step of training, and what it makes of texts.


def _drawn(size: str, model: str, **options: Any) -> Any:
    """A model of transformers with drawn weights, without dropout."""
    torch, transformers = package("torch"), package("transformers")
    about = SIZES[size]
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        intermediate_size=4 * about["hidden_size"],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="sdpa",
        **about,
    )
    torch.manual_seed(0)
    return getattr(transformers, model)(config, **options)


def _restored(
    theirs: Any, head: str | None, *, tuned: bool
) -> tuple[Callable[..., Any], Any]:
    """`apply` and params of the same weights, by way of a file.

    Tuned, it has the attention and the linear maps that are made for CPUs.
    """
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        files = load_pretrained(path=folder)
        apply, params, _ = files.restored(head, dropout_rate=0.0)
    params = jax.block_until_ready(jax.tree.map(jnp.array, params))
    if not tuned:
        return apply, params
    make = files.model(head, dropout_rate=0.0, attention=heads_first_attention)
    return functional(with_linear_products(make))[1], params


class Hidden(NamedTuple):
    """Rows of tokens some of which are hidden, where, and what stood there."""

    tokens: np.ndarray
    places: np.ndarray
    targets: np.ndarray


def hidden(batch: int) -> Hidden:
    """Drawn tokens ``[B, 128]``, of which 19 a row are hidden."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1000, VOCABULARY, (batch, LENGTH)).astype(np.int32)
    order = np.argsort(rng.random(tokens.shape), axis=1)
    places = np.sort(order[:, :MASKED], axis=1).astype(np.int32)
    targets = np.take_along_axis(tokens, places, axis=1)
    np.put_along_axis(tokens, places, MASK, axis=1)
    return Hidden(tokens, places, targets)


def our_step(theirs: Any, batch: Hidden, *, tuned: bool) -> Callable[[], float]:
    """A step that scores the hidden places alone and gives up params and state.

    The loss is the log-sum-exp less the score of the target, so nothing as large as the
    scores is made beside them and their gradient.
    """
    apply, params = _restored(theirs, "vocabulary", tuned=tuned)
    tx = optax.adamw(RATE, weight_decay=DECAY)

    def loss_fn(params, tokens, places, targets):
        scores, _ = apply(params, {}, tokens, places=places)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, targets)
        return jnp.mean(losses)

    def update(params, state, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    state = jax.jit(tx.init)(params)
    arrays = jax.block_until_ready(jax.device_put(batch))
    compiled = jax.jit(update, donate_argnums=(0, 1))
    compiled = compiled.lower(params, state, arrays).compile()
    kept = [params, state]
    del params, state

    def run():
        *kept[:], loss = jax.block_until_ready(compiled(*kept, arrays))
        return float(loss)

    return run


def their_step(theirs: Any, batch: Hidden, *, gathers: bool) -> Callable[[], float]:
    """A step of torch, with the head at all places or, gathered, at those hidden."""
    torch = package("torch")
    tokens = torch.from_numpy(batch.tokens).long()
    rows = np.full(batch.tokens.shape, -100)  # what transformers leaves out
    np.put_along_axis(rows, batch.places, batch.targets, axis=1)
    labels, targets = torch.from_numpy(rows), torch.from_numpy(batch.targets).long()
    flat = batch.places + LENGTH * np.arange(len(rows))[:, None]
    places = torch.from_numpy(flat).long().flatten()
    rule = torch.optim.AdamW(
        theirs.parameters(), lr=RATE, weight_decay=DECAY, fused=True
    )

    def loss_of():
        if not gathers:
            return theirs(input_ids=tokens, labels=labels).loss
        states = theirs.bert(input_ids=tokens).last_hidden_state.flatten(0, 1)
        scores = theirs.cls(states[places])
        return torch.nn.functional.cross_entropy(scores, targets.flatten())

    def run():
        loss = loss_of()
        loss.backward()
        rule.step()
        rule.zero_grad()
        return loss.item()

    return run


def operations(size: str, batch: int) -> dict[str, float]:
    """Floating-point operations of the matrix products of a step.

    Two for a product and its sum; forward once and backward twice. `head` is the part
    of the scores and the map before them, at the hidden places alone.
    """
    width, layers = (SIZES[size][n] for n in ("hidden_size", "num_hidden_layers"))
    maps = 2 * batch * LENGTH * (4 + 8) * width * width
    mixing = 2 * 2 * batch * LENGTH * LENGTH * width
    head = 2 * batch * MASKED * (width + VOCABULARY) * width
    return {"all": 3.0 * (layers * (maps + mixing) + head), "head": 3.0 * head}


def _products() -> dict[str, tuple[Callable[[], Any], float]]:
    """Square products in jax and torch, and how many operations they are."""
    torch, rng = package("torch"), np.random.default_rng(0)
    made = {}
    for rows in SQUARES:
        x, y = rng.standard_normal((2, rows, rows), np.float32)
        a, b = jnp.array(x), jnp.array(y)
        product = jax.jit(jnp.matmul).lower(a, b).compile()

        tensors = torch.from_numpy(x), torch.from_numpy(y)

        def ours(product=product, a=a, b=b):
            return product(a, b).block_until_ready()

        made[f"product of {rows}, jax"] = ours, 2.0 * rows**3
        made[f"product of {rows}, torch"] = (
            partial(torch.matmul, *tensors),
            2.0 * rows**3,
        )
    return made


def step(size: str, batch: int, rounds: int = 5) -> dict[str, Any]:
    """A step of masked language modelling: forward, backward and AdamW.

    Returns:
      Beside the ways ``operations`` (see there), ``peak``, of the best product, in
      operations a second, and ``share``, the speed of ours in units of the peak of the
      same round. The error is that of the first two losses, relative to float64.
    """
    rows = hidden(batch)

    def fresh():
        return _drawn(size, "BertForMaskedLM").train()

    exact = their_step(fresh().double(), rows, gathers=True)
    want = [exact(), exact()]
    del exact
    runs: dict[str, Callable[[], Any]] = {
        "ours": our_step(fresh(), rows, tuned=True),
        "ours, as it comes": our_step(fresh(), rows, tuned=False),
        "transformers": their_step(fresh(), rows, gathers=False),
        "transformers, gathered": their_step(fresh(), rows, gathers=True),
    }
    peaks, errors = {}, {}
    for name, run in runs.items():
        first = run()  # torch makes the moments
        second, peaks[name] = turns.highest(run)
        errors[name] = apart([first, second], want)
    products = _products()
    both = runs | {name: run for name, (run, _) in products.items()}
    times = turns.in_turns(both, rounds)
    found = turns.told({name: times[name] for name in runs}, "ours", peaks)
    for name, error in errors.items():
        found[name]["error"] = error
    needed = operations(size, batch)
    speeds = [count / np.asarray(times[name]) for name, (_, count) in products.items()]
    best = np.max(speeds, axis=0)
    return {
        "ways": found,
        "operations": needed,
        "peak": float(np.median(best)),
        "share": float(np.median(needed["all"] / np.asarray(times["ours"]) / best)),
    }


def inference(size: str, batch: int) -> dict[str, Any]:
    """The states of the last layer, of texts of 128 tokens."""
    torch = package("torch")
    tokens = hidden(batch).tokens
    theirs = _drawn(size, "BertModel", add_pooling_layer=False).eval()
    read, arrays = torch.from_numpy(tokens).long(), jax.device_put(tokens)

    def our_run(tuned):
        apply, params = _restored(theirs, None, tuned=tuned)
        compiled = jax.jit(lambda params, tokens: apply(params, {}, tokens)[0])
        compiled = compiled.lower(params, arrays).compile()
        return lambda: compiled(params, arrays).block_until_ready()

    def their_run(model):
        with torch.inference_mode():
            return model(input_ids=read).last_hidden_state.numpy()

    ours, plain = our_run(True), our_run(False)
    want = their_run(theirs.double())
    theirs = theirs.float()

    def check(result):
        return apart([result], [want])

    return compared(
        {
            "ours": Way(ours, check),
            "ours, as it comes": Way(plain, check),
            "transformers": Way(lambda: their_run(theirs), check),
        }
    )


# GlobalPointer: its loss, and spans from its scores.


def _spans(batch: int, length: int) -> list[list[Span]]:
    """Drawn spans of each text, of at most 8 tokens, without scores."""
    rng = np.random.default_rng(1)
    texts = []
    for _ in range(batch):
        kinds = rng.integers(0, TYPES, SPANS)
        starts = rng.integers(0, length - 8, SPANS)
        ends = starts + rng.integers(0, 8, SPANS)
        rows = zip(kinds.tolist(), starts.tolist(), ends.tolist(), strict=True)
        texts.append(sorted({Span(*span) for span in rows}))
    return texts


def _lean_losses(kernel: Any, bias: Any, states: Any, labels: Any) -> Any:
    """``[B, C]`` of all scores in torch, hidden by -inf, with few copies of them."""
    torch = package("torch")
    batch, length = states.shape[:2]
    mapped = (states @ kernel + bias).unflatten(-1, (TYPES, 2, HEAD))
    cosine, sine = (f[:, None, None] for f in _turns(length, states.dtype))
    even, odd = mapped[..., 0::2], mapped[..., 1::2]
    turned = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], -1)
    query, key = turned.flatten(-2).unbind(3)
    scores = torch.einsum("bich,bjch->bcij", query, key) / HEAD**0.5
    spans = torch.ones(length, length, dtype=torch.bool).triu()
    losses = 0.0
    for chosen, sign in ((labels, -1.0), (~labels & spans, 1.0)):
        terms = torch.where(chosen, sign * scores, -torch.inf).flatten(2)
        terms = torch.cat([terms, torch.zeros(batch, TYPES, 1)], dim=-1)
        losses = losses + torch.logsumexp(terms, dim=-1)
    return losses


def _turns(length: int, dtype: Any) -> tuple[Any, Any]:
    """Cosines and sines ``[T, H / 2]`` of rotary positions."""
    torch = package("torch")
    speeds = 10000.0 ** (-torch.arange(0, HEAD, 2, dtype=dtype) / HEAD)
    angles = torch.arange(length, dtype=dtype)[:, None] * speeds
    return torch.cos(angles), torch.sin(angles)


def _usual_losses(kernel: Any, bias: Any, states: Any, labels: Any) -> Any:
    """The same line by line as bert4keras has it: hidden is what has lost 1e12."""
    torch = package("torch")
    batch, length = states.shape[:2]
    mapped = (states @ kernel + bias).reshape(batch, length, TYPES, 2 * HEAD)
    cosine, sine = (
        x.repeat_interleave(2, dim=-1)[:, None] for x in _turns(length, states.dtype)
    )

    def turned(x):
        other = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).reshape(x.shape)
        return x * cosine + other * sine

    query, key = (turned(x) for x in mapped.split(HEAD, dim=-1))
    scores = torch.einsum("bmhd,bnhd->bhmn", query, key)
    kept = torch.ones(batch, 1, 1, length, dtype=states.dtype)
    scores = scores * kept - (1.0 - kept) * 1e12
    scores = scores - torch.tril(torch.ones_like(scores), -1) * 1e12
    scores = (scores / HEAD**0.5).reshape(batch, TYPES, -1)
    right = labels.reshape(scores.shape).to(scores.dtype)
    scores = (1.0 - 2.0 * right) * scores
    zeros = torch.zeros_like(scores[..., :1])
    negative = torch.cat([scores - right * 1e12, zeros], dim=-1)
    positive = torch.cat([scores - (1.0 - right) * 1e12, zeros], dim=-1)
    return torch.logsumexp(negative, dim=-1) + torch.logsumexp(positive, dim=-1)


def _dense_losses(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """The same of all scores ``[B, C, T, T]``, in jax."""
    losses = jnp.zeros(scores.shape[:2])
    for chosen, sign in ((labels, -1.0), (~labels & (scores > -jnp.inf), 1.0)):
        terms = jnp.where(chosen, sign * jnp.where(chosen, scores, 0.0), -jnp.inf)
        terms = terms.reshape(*scores.shape[:2], -1)
        terms = jnp.pad(terms, ((0, 0), (0, 0), (0, 1)))
        losses = losses + jax.nn.logsumexp(terms, axis=-1)
    return losses


def pointer_operations(length: int, batch: int) -> tuple[float, float]:
    """Operations of the map to queries and keys, and of all their scores."""
    places = batch * length
    return (
        6.0 * places * FEATURES * 2 * TYPES * HEAD,
        6.0 * places * length * TYPES * HEAD,
    )


def pointer(length: int, batch: int) -> dict[str, Any]:
    """The loss of GlobalPointer and its gradients, of weights and of states."""
    torch, rng = package("torch"), np.random.default_rng(0)
    init, apply = functional(
        lambda *, rngs: GlobalPointer(FEATURES, types=TYPES, head_size=HEAD, rngs=rngs)
    )
    params, extras = init(jax.random.key(0))
    states = rng.standard_normal((batch, length, FEATURES), np.float32)
    kept = np.ones((batch, length), bool)
    texts = _spans(batch, length)
    positives = span_positives(texts, types=TYPES)
    labels = np.zeros((batch, TYPES, length, length), bool)
    for row, spans in enumerate(texts):
        for kind, start, end, _ in spans:
            labels[row, kind, start, end] = True

    def ours(params, states, kept, positives):
        return apply(params, extras, states, kept, positives, method="loss")[0]

    def plain(params, states, kept, labels):
        return _dense_losses(apply(params, extras, states, kept)[0], labels)

    def in_jax(losses_of, gold):
        def both(params, states, *rest):
            losses, pull = jax.vjp(lambda *x: losses_of(*x, *rest), params, states)
            return losses, pull(jnp.ones_like(losses))

        arrays = jax.device_put((params, states, kept, gold))
        compiled = jax.jit(both).lower(*jax.block_until_ready(arrays)).compile()
        return lambda: jax.block_until_ready(compiled(*arrays))

    def in_torch(losses_of, dtype):
        layer, gold = params["projection"], torch.from_numpy(labels)
        leaves = [
            torch.from_numpy(np.array(x)).to(dtype).requires_grad_()
            for x in (layer["kernel"], layer["bias"], states)
        ]

        def run():
            losses = losses_of(*leaves, gold)
            return losses.detach(), *torch.autograd.grad(losses.sum(), leaves)

        return run

    want = [x.numpy() for x in in_torch(_lean_losses, torch.float64)()]

    def check_ours(result):
        losses, (slopes, into_states) = result
        layer = slopes["projection"]
        return apart([losses, layer["kernel"], layer["bias"], into_states], want)

    def check(result):
        return apart(result, want)

    return compared(
        {
            "ours": Way(in_jax(ours, positives), check_ours),
            "plain JAX": Way(in_jax(plain, labels), check_ours),
            "torch": Way(in_torch(_usual_losses, torch.float32), check),
            "torch, lean": Way(in_torch(_lean_losses, torch.float32), check),
        }
    )


def decode(length: int, batch: int) -> dict[str, Any]:
    """Spans of each text from scores ``[B, C, T, T]``; the error is a share of them."""
    torch, rng = package("torch"), np.random.default_rng(0)
    shape = (batch, TYPES, length, length)
    scores = -1.0 - 4.0 * rng.random(shape, np.float32)
    texts = _spans(batch, length)
    for row, spans in enumerate(texts):
        for kind, start, end, _ in spans:
            scores[row, kind, start, end] = rng.uniform(0.5, 5.0)
    scores[..., np.tril(np.ones((length, length), bool), -1)] = -np.inf
    tensor = torch.from_numpy(scores)

    def theirs():
        found: list[list[Span]] = [[] for _ in range(batch)]
        places = (tensor > 0.0).nonzero()
        values = tensor[places.unbind(1)].tolist()
        for (row, *span), value in zip(places.tolist(), values, strict=True):
            found[row].append(Span(*span, value))
        return found

    def check(result):
        pairs = zip(result, texts, strict=True)
        wrong = sum(
            len({s[:3] for s in found} ^ {s[:3] for s in gold}) for found, gold in pairs
        )
        return wrong / sum(map(len, texts))

    return compared(
        {
            "ours": Way(lambda: decode_batch(scores), check),
            "torch": Way(theirs, check),
        }
    )


# Text to tokens.


def _texts(language: str) -> tuple[list[str], list[str]]:
    """Texts of about a million characters, and the vocabulary to cut them with."""
    if language == "English":
        texts = paragraphs(python_prose().train)
        words = vocabulary("bert_base_uncased")
    else:
        with fetch.open_text("chnsenticorp", "train.tsv.gz") as lines:
            texts = [review.text for review in read_reviews(lines)]
        words = vocabulary("bert_base_chinese")
    ends = np.cumsum([len(text) for text in texts])
    return texts[: int(np.searchsorted(ends, LETTERS)) + 1], words


def tokens(language: str) -> dict[str, Any]:
    """WordPiece; the error is the share of texts whose tokens are not those of theirs.

    Returns:
      Beside the ways the number of ``texts`` and of their ``letters``.
    """
    transformers = package("transformers")
    texts, words = _texts(language)
    ours = WordPiece(words)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocab.txt")
        path.write_text("\n".join(words) + "\n", "utf-8")
        theirs = transformers.BertTokenizerFast(vocab=str(path), model_max_length=512)
    want = theirs(texts, truncation=True)["input_ids"]

    def check(rows):
        return sum(list(r) != w for r, w in zip(rows, want, strict=True)) / len(want)

    def same(**options):
        return lambda: theirs(texts, truncation=True, **options)

    beside = dict(return_offsets_mapping=True, return_special_tokens_mask=True)
    found = compared(
        {
            "ours": Way(
                lambda: ours.encode_all(texts),
                lambda found: check([row.tokens.tolist() for row in found]),
            ),
            "transformers": Way(same(), lambda found: check(found["input_ids"])),
            "transformers, with offsets": Way(
                same(**beside), lambda found: check(found["input_ids"])
            ),
        }
    )
    return found | {"texts": len(texts), "letters": sum(map(len, texts))}


# The linear chain.


def _chain_of_torch(dtype: Any) -> tuple[Any, Any, Any, Any]:
    """A chain of pytorch-crf with drawn scores, emissions, tags and a mask."""
    torch = package("torch")
    torch.manual_seed(0)
    crf = package("torchcrf").CRF(TAGS, batch_first=True).to(dtype)
    with torch.no_grad():
        for scores in crf.parameters():
            scores.copy_(torch.randn(scores.shape))
    emissions = torch.randn(ROWS, PLACES, TAGS).to(dtype).requires_grad_()
    ends = torch.randint(PLACES // 2, PLACES + 1, (ROWS, 1))
    tags, kept = torch.randint(0, TAGS, (ROWS, PLACES)), torch.arange(PLACES) < ends
    return crf, emissions, tags, kept


def chain(task: str) -> dict[str, Any]:
    """The likelihood of a chain with its gradients, or its best sequences.

    Args:
      task: "loss" or "best".
    """
    torch = package("torch")
    crf, emissions, tags, kept = _chain_of_torch(torch.float32)
    exact, wide, *_ = _chain_of_torch(torch.float64)

    def parts(crf, emissions):
        ends = crf.start_transitions, crf.end_transitions
        return emissions, crf.transitions, *ends

    arrays = [jnp.array(x.detach().numpy()) for x in parts(crf, emissions)]
    labels, mask = (jnp.array(x.numpy()) for x in (tags, kept))
    if task == "loss":

        def theirs(crf, emissions):
            total = crf(emissions, tags, mask=kept)
            return total.detach(), *torch.autograd.grad(total, parts(crf, emissions))

        def total(emissions, transitions, first, last):
            ends = dict(first=first, last=last)
            return log_likelihood(emissions, transitions, labels, mask, **ends).sum()

        both = jax.jit(jax.value_and_grad(total, (0, 1, 2, 3)))
        want = [x.numpy() for x in theirs(exact, wide)]
        ways = {
            "ours": Way(
                lambda: jax.block_until_ready(both(*arrays)),
                lambda found: apart([found[0], *found[1]], want),
            ),
            "pytorch-crf": Way(
                lambda: theirs(crf, emissions), lambda found: apart(found, want)
            ),
        }
    else:
        lengths = kept.sum(1).tolist()
        best = exact.decode(wide, mask=kept)

        def wrong(rows):
            pairs = zip(rows, best, strict=True)
            return float(np.mean([list(r) != w for r, w in pairs]))

        decoded = jax.jit(lambda e, t, f, z: viterbi(e, t, mask, first=f, last=z).tags)

        def ours():
            rows = np.asarray(decoded(*arrays))
            return [row[:n].tolist() for row, n in zip(rows, lengths, strict=True)]

        ways = {
            "ours": Way(ours, wrong),
            "pytorch-crf": Way(lambda: crf.decode(emissions, mask=kept), wrong),
        }
    return compared(ways)


KINDS = {
    "step": step,
    "inference": inference,
    "pointer": pointer,
    "decode": decode,
    "tokens": tokens,
    "chain": chain,
}
