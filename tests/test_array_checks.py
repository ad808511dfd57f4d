"""In the tests, annotations of arrays are checked at run time; bad input still meets llmlib's own messages."""

import sys
import textwrap

import numpy as np
import pytest

from llmlib import corpora

pytest.importorskip("beartype", reason="run `make setup`")
jaxtyping = pytest.importorskip("jaxtyping", reason="run `make setup`")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that is imported as the rooms of llmlib are."""
    source = """
        from collections.abc import Sequence
        import numpy as np
        from jaxtyping import Float

        def add(a: Float[np.ndarray, "T C"], b: Float[np.ndarray, "T C"], times: int = 1) -> Float[np.ndarray, "T C"]:
            if a.shape != b.shape:
                raise ValueError("the shapes differ")
            if not isinstance(times, int):
                raise TypeError("times must be an integer")
            return a + times * b if times else a[0]

        def total(arrays: Sequence[Float[np.ndarray, " n"]]) -> float:
            return sum(float(array.sum()) for array in arrays)
    """
    (tmp_path / "typed_module.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    with jaxtyping.install_import_hook("typed_module", "tests.conftest.check_arrays"):
        import typed_module
    yield typed_module
    del sys.modules["typed_module"]


def test_the_rooms_are_checked():
    assert corpora.pack.__wrapped__


def test_arrays_of_the_wrong_shape_or_type_are_caught(module):
    two, three = np.ones((2, 3)), np.ones((3, 3))
    assert module.add(two, two).shape == (2, 3)
    for arguments in [(two, three), (two, np.ones(3)), (two, np.ones((2, 3), dtype=int))]:
        with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'b'"):
            module.add(*arguments)
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        module.add(two, two, times=0)


def test_arrays_inside_other_types_are_checked(module):
    assert module.total([np.ones(2)]) == 2
    with pytest.raises(jaxtyping.TypeCheckError):
        module.total([np.ones((2, 2))])


def test_other_annotations_are_left_to_the_code(module):
    with pytest.raises(TypeError, match=r"^times must be an integer$"):
        module.add(np.ones((2, 3)), np.ones((2, 3)), times=1.0)


@pytest.mark.usefixtures("unchecked")
def test_the_checks_can_be_switched_off_to_test_what_a_user_would_see(module):
    with pytest.raises(ValueError, match="the shapes differ"):
        module.add(np.ones((2, 3)), np.ones((3, 3)))
