"""Every code block of README.md and docs/ is run, or says why not; and the runner itself finds what is wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, BlockError, blocks, compare, run

if not (ROOT / "docs").is_dir():
    pytest.skip("the pages lie in a checkout, not beside an installed wheel", allow_module_level=True)
if sys.version_info < (3, 11):
    pytest.skip("the pages are written for a workstation, with Python 3.11 or later", allow_module_level=True)

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
LANE = re.compile(r"^<!-- page: release -->$", re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_or_marked(page: Path) -> None:
    list(blocks(page))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.release] * bool(LANE.search(page.read_text())))
        for page in PAGES
        if re.search(r"^ *```(console|bash|python)", page.read_text(), re.M)
    ],
)
def test_blocks_do_what_the_page_says(page: Path, tmp_path: Path, shared: Path) -> None:
    pytest.importorskip("torch", reason="the pages are a workstation's")
    run(page, tmp_path)


def page_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```json\n{}\n```\n", "line 1: json needs a marker"),
        ("```\nx\n```\n", "a block without a language needs a marker"),
        ("words\n\n    code\n", "line 3: an indented block"),
        ("<!-- not run -->\n```bash\nx\n```\n", "'not run' says nothing"),
        ("<!-- not run: no Pi here -->\nwords\n", "line 2: a marker without a block"),
        ("```bash\nfalse\n```\n", "exit code 1"),
        ('```python\n--8 < --"a.py"\n```\n', "was taken apart"),
        ("```console\n$ echo 3 pixels\n3 labels\n```\n", "not printed: 3 labels"),
        ("```console\n$ echo fine\nhsiedge: error: no\n```\n", "exit code 0, not 2"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```python\n1 + 1\n```\n<!-- output -->\n```text\nx\n```\n", "not printed: x"),
        ("<!-- file: ../x -->\n```text\nx\n```\n", "outside the page's folder"),
        ("<!-- prepare: exit 3 -->\n", "exit code 3"),
    ],
)
def test_a_page_that_is_wrong_is_found(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BlockError, match=re.escape(why)):
        run(page_of(tmp_path, text), tmp_path)


def test_blocks_share_a_folder_and_names(tmp_path: Path) -> None:
    text = """
<!-- prepare: echo 4 > four.txt -->
<!-- file: five.py -->
```python
FIVE = 5
```

- in a list

    ```python
    from five import FIVE
    nine = FIVE + int(open("four.txt").read())
    ```

```python
print("sum")
nine
```

<!-- output -->
```text
sum
9
```

```console
$ echo one; echo two \\
    three
...
two three
$ echo "hsiedge: error: it's 7 bytes"; exit 2
hsiedge: error: it's 8 bytes
```

<!-- not run: needs a Raspberry Pi -->
```bash
exit 1
```

<!-- file: net.py -->
```python
--8<-- "examples/net/dilated_net.py"
```

```console
$ grep -c "class Dilated" net.py
1
```

<!-- not compared: it depends on the machine -->
```console
$ nproc
many
```
"""
    assert run(page_of(tmp_path, text), tmp_path) == 9


def test_output_is_compared_in_order_and_without_figures() -> None:
    compare("a 1.5 ms\n...\nb   2,000\nc ...\n", "x\na 3 ms\ny\nb 7\nc d e\n")
    with pytest.raises(BlockError, match="not printed: a"):
        compare("b\na\n", "a\nb\n")
