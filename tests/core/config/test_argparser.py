import pytest

from eva_core.config.argparser import Parser
from eva_core.errors import UsageError


@pytest.fixture
def parser() -> Parser:
    parser = Parser(prog="eva x")
    parser.add_argument("--batch_size", type=int)
    return parser


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--batch_size", "x"], "Argument --batch_size: invalid int value: 'x'. See `eva x --help`."),
        (["--batch", "3"], "Unrecognized arguments: --batch 3. See `eva x --help`."),
    ],
)
def test_wrong_flags_are_usage_errors_in_a_line(parser: Parser, argv: list[str], said: str):
    with pytest.raises(UsageError) as caught:
        parser.parse_args(argv)
    assert str(caught.value) == said


def test_right_flags_are_taken(parser: Parser):
    assert parser.parse_args(["--batch_size", "3"]).batch_size == 3
