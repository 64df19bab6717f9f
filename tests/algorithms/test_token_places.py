import numpy as np

from kexue_jax.algorithms.token_places import TokenPlaces, placed

TEXT = "He is 25 now"
OFFSETS = np.array([(0, 0), (0, 2), (3, 5), (6, 8), (9, 12), (0, 0)])
ADDED = np.array([1, 0, 0, 0, 0, 1], bool)


def test_spans_of_characters_and_of_tokens_are_each_others_inverse():
    places = TokenPlaces(OFFSETS, ADDED, text=TEXT)
    for first in range(1, 5):
        for last in range(first, 5):
            start, stop = places.characters(first, last)
            assert places.tokens(start, stop) == (first, last)
            assert places.words(first, last) == TEXT[start:stop]


def test_borders_inside_a_token_and_in_white_space_have_no_tokens():
    places = TokenPlaces(OFFSETS, ADDED)
    for start, stop in ((1, 2), (0, 1), (2, 5), (6, 7), (0, 3), (3, 13), (3, 2)):
        assert places.tokens(start, stop) is None
    found = placed(places, [(6, 8, "age"), (6, 7, "digit"), (0, 5, "who")])
    assert found.spans == [("age", 3, 3), ("who", 1, 2)]
    assert found.missed == 1


def test_of_several_tokens_within_one_character_the_outer_ones_count():
    offsets = np.array([(0, 1), (0, 1), (1, 2)])  # one character of three pieces
    places = TokenPlaces(offsets, np.zeros(3, bool))
    assert places.tokens(0, 1) == (0, 1)
    assert places.tokens(0, 2) == (0, 2)


def test_of_two_texts_spans_are_those_of_the_second():
    segments = np.array([0, 0, 0, 1, 1, 1])
    offsets = np.array([(0, 0), (0, 2), (0, 0), (0, 2), (3, 5), (0, 0)])
    added = np.array([1, 0, 1, 0, 0, 1], bool)
    places = TokenPlaces(offsets, added, segments)
    assert places.tokens(0, 5) == (3, 4)
    assert places.real.tolist() == [False, False, False, True, True, False]
