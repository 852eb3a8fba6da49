import pytest

from mixgrpo.bench.progress import with_progress


def test_lines_show_the_progress_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert [*with_progress(range(40))] == [*range(40)]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 19
    assert lines[0].startswith("measured 2 of 40, ")
