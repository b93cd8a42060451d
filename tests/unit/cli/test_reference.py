"""The generated pages are in step with the API and the command line."""

from __future__ import annotations

from tools.write_interface_reference import DOCS, api_reference, cli_reference


def test_the_api_reference_is_in_step() -> None:
    assert (DOCS / "api.md").read_text() == api_reference()


def test_the_command_reference_is_in_step() -> None:
    assert (DOCS / "cli.md").read_text() == cli_reference()
    for line in (
        "`sallyport serve --config FILE`",
        "`--tour/--no-tour`",
        "## sessions",
        "sallyport explain",
    ):
        assert line in cli_reference()
