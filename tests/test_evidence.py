"""A claim shows what was measured or fails the chapter; a check tells a reader and never fails."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup

from llmlib.evidence import Claim, Verdict, check, claim

HOSTILE = """<script>alert("1")</script> & 'quotes' </div> <img src=x onerror="alert(2)">"""


def element(shown: Claim | Verdict) -> BeautifulSoup:
    """The one element that ``shown`` is in a page."""
    page = BeautifulSoup(shown._repr_html_(), "html.parser")
    (element,) = page.find_all(recursive=False)
    return element


class TestClaim:
    @pytest.mark.parametrize("true", [True, np.True_, np.array(True), torch.tensor(1) == 1])
    def test_what_holds_is_shown_with_its_measured_value(self, true, capsys):
        claim(" Water is wet ", true, 1.5)
        assert capsys.readouterr().out == "✓ Water is wet — 1.5\n"

    @pytest.mark.parametrize("false", [False, np.False_, np.array(False), torch.tensor(1) == 2])
    def test_what_does_not_hold_fails_with_both(self, false, capsys):
        with pytest.raises(AssertionError, match=r"'Water is dry' does not hold: measured 1\.5"):
            claim("Water is dry", false, 1.5)
        assert not capsys.readouterr().out

    @pytest.mark.parametrize("several", [np.array([True]), np.array([[True]]), torch.tensor([True, True])])
    def test_several_truth_values_are_refused(self, several):
        with pytest.raises(TypeError, match=r"One truth value.* shape \(.*\.all\(\) or \.any\(\)"):
            claim("Water is wet", several, 1)

    @pytest.mark.parametrize("value", [1, 0.0, None, "yes", [], np.int64(1), torch.tensor(1.0), lambda: True])
    def test_what_is_no_truth_value_is_refused(self, value):
        with pytest.raises(TypeError, match=r"A truth value is needed, but this is .* a \w+\."):
            claim("Water is wet", value, 1)

    def test_an_empty_statement_is_refused(self):
        with pytest.raises(ValueError, match="statement is empty"):
            claim(" \n", True, 1)
        with pytest.raises(TypeError, match="must be a string, but this is 3"):
            claim(3, True, 1)

    @pytest.mark.parametrize("measured", ["", "  ", None])
    def test_a_claim_without_measurement_is_refused(self, measured):
        with pytest.raises(ValueError, match="'Water is wet' comes without a measured value"):
            claim("Water is wet", True, measured)

    def test_zero_and_false_are_measurements(self, capsys):
        claim("None is lost", True, 0)
        claim("None is lost", True, False)
        assert capsys.readouterr().out == "✓ None is lost — 0\n✓ None is lost — False\n"

    def test_its_html_says_what_the_evidence_page_reads(self):
        shown = element(Claim("BPE needs 3.9 bytes / token!", "3.91"))
        assert (shown.name, shown["class"], shown["id"]) == (
            "div",
            ["claim"],
            "claim-bpe-needs-3-9-bytes-token",
        )
        assert (shown["data-statement"], shown["data-measured"]) == ("BPE needs 3.9 bytes / token!", "3.91")
        assert shown.get_text() == "✓ BPE needs 3.9 bytes / token! — 3.91"

    def test_hostile_text_stays_text(self):
        shown = element(Claim(HOSTILE, HOSTILE))
        assert shown["data-statement"] == shown["data-measured"] == HOSTILE
        assert shown.get_text() == f"✓ {HOSTILE} — {HOSTILE}"
        assert {tag.name for tag in shown.find_all(True)} == {"span"}

    def test_a_statement_in_another_script_has_an_anchor(self):
        assert element(Claim("字节 → 词元", "1"))["id"] == "claim-字节-词元"


class TestCheck:
    def test_right(self):
        assert check(3, lambda answer: answer == 3) == Verdict("right", "Right.")
        assert check(3, lambda answer: answer == 3)

    def test_wrong(self):
        assert not check(4, lambda answer: answer == 3, "count again")
        assert repr(check(4, lambda answer: answer == 3, "count again")) == "Not yet: count again"
        assert repr(check(4, lambda answer: answer == 3)) == "Not yet: try again."

    def test_unanswered(self):
        verdict = check(..., lambda answer: answer == 3, "count again")
        assert not verdict
        assert verdict == Verdict("unanswered", "No answer yet.")

    def test_an_error_counts_as_wrong_and_is_shown(self):
        failed = check("a", lambda answer: answer + 1 == 2, "give a number")
        assert failed.result == "wrong"
        assert repr(failed).startswith("Not yet: give a number — TypeError: can only concatenate")
        assert (
            repr(check(0, lambda answer: 1 / answer == 2)) == "Not yet: ZeroDivisionError: division by zero"
        )

    def test_an_array_where_a_number_was_asked_counts_as_wrong(self):
        verdict = check(np.array([3, 3]), lambda answer: answer == 3)
        assert verdict.result == "wrong"
        assert "One truth value is needed" in repr(verdict)

    def test_a_test_that_says_nothing_never_says_right(self):
        verdict = check(3, lambda answer: None)
        assert verdict.result == "wrong"
        assert "A truth value is needed" in repr(verdict)

    def test_an_interrupt_is_not_an_answer(self):
        def interrupted(answer: object) -> bool:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            check(3, interrupted)

    def test_a_test_that_cannot_be_called_is_refused(self):
        with pytest.raises(TypeError, match="must be a function"):
            check(3, 3)

    @pytest.mark.parametrize("result", ["unanswered", "right", "wrong"])
    def test_its_html(self, result):
        shown = element(Verdict(result, HOSTILE))
        assert (shown.name, shown["class"], shown["data-result"]) == ("div", ["exercise-check"], result)
        assert shown.get_text() == HOSTILE
        assert not shown.find_all(True)


IN_IPYTHON = """
import json
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

shell = InteractiveShell.instance()
with capture_output() as captured:
    shell.run_cell("from llmlib.evidence import claim")
    shell.run_cell("claim('Water is wet', True, 1)")
print(json.dumps({"stdout": captured.stdout, "displayed": [output.data for output in captured.outputs]}))
"""


def test_ipython_displays_a_claim_and_does_not_print_it():
    pytest.importorskip("IPython")
    run = subprocess.run(
        [sys.executable, "-c", IN_IPYTHON], capture_output=True, text=True, check=True, timeout=60
    )
    shown = json.loads(run.stdout.splitlines()[-1])
    assert [output["text/plain"] for output in shown["displayed"]] == ["✓ Water is wet — 1"]
    assert all(output["text/html"].startswith("<div ") for output in shown["displayed"])
    assert shown["stdout"] == ""
