import pytest
from typer.testing import CliRunner

from hydro.client.command.main import build, is_wanted


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["study", "--help"], ["trial", "--help"], ["device", "--help"], ["up", "--help"], ["demo", "--help"]],
)
def test_every_command_explains_itself(arguments):
    result = CliRunner().invoke(build(arguments), arguments)
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [([], True), (["--help"], True), (["shrink", "digits:Digits"], True), (["study", "list"], False)],
)
def test_commands_of_other_distributions_are_imported_only_to_run_or_list_them(arguments, wanted):
    assert is_wanted("shrink", arguments) is wanted
