from pathlib import Path

import pytest

from mixgrpo.rewards.clients import credentials


@pytest.mark.parametrize("token", ["s3cret\nx", "s3cret\r\nx", "s3cret☃", "s3cret\x00", "s3cret\x7f"])
def test_a_token_that_no_client_can_send_is_refused_and_not_shown(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(token, encoding="utf-8")
    with pytest.raises(ValueError, match=f"{file} holds a token that no HTTP header can carry") as error:
        credentials.from_file(file)
    assert "s3cret" not in str(error.value)
    if "\x00" not in token:  # the environment cannot hold it
        monkeypatch.setenv("A_TOKEN", token)
        with pytest.raises(ValueError, match="the environment variable A_TOKEN holds a token that no") as error:
            credentials.from_environment("A_TOKEN")
        assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(("content", "problem"), [(b" \n", "is empty"), (b"s3cret\xff", "is not UTF-8")])
def test_a_file_without_a_token_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        credentials.from_file(file)


def test_a_token_may_have_accents_and_a_line_break_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("gehéim\n", encoding="utf-8")
    assert credentials.from_file(file) == "gehéim"
