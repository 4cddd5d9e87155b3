from pathlib import Path

from hsiedge.testing import check_net

FILE = Path(__file__).with_name("dilated_net.py")


def test_it_takes_part_in_every_command() -> None:
    check_net(f"{FILE}:Dilated")
