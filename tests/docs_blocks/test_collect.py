"""No block of a page is missed."""

from pathlib import Path

import pytest

from tests.docs_blocks import collect
from tests.docs_blocks.collect import blocks

PAGE = """
Title
=====

.. code-block:: python
    :caption: One

    import os
    if os.name:
        pass

In a list:

- Text::

    {"a": 1}

- More::

    pip install x

.. list-table::

    * - A cell

        .. code-block:: dockerfile

            FROM scratch

>>> 1 + 1
2

.. literalinclude:: ../x.py
"""

TEXT = """
# Title

```python
import os
```

- A list:

  ```bash
  ls
  ```

Text.

    {"a": 1}

1. ~~~toml
   a = 1
   ~~~
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "docs" / "more").mkdir(parents=True)
    monkeypatch.setattr(collect, "ROOT", tmp_path)
    return tmp_path


def test_pages(root: Path) -> None:
    (root / "docs" / "more" / "page.rst").write_text(PAGE)
    assert [(block.name, block.language, block.text) for block in blocks()] == [
        ("page.rst:8", "python", "import os\nif os.name:\n    pass"),
        ("page.rst:16", "json", '{"a": 1}'),
        ("page.rst:20", "bash", "pip install x"),
        ("page.rst:28", "dockerfile", "FROM scratch"),
        ("page.rst:30", "pycon", ">>> 1 + 1\n2"),
        ("page.rst:33", "file", "../x.py"),
    ]


def test_texts(root: Path) -> None:
    (root / "README.md").write_text(TEXT)
    assert [(block.language, block.text) for block in blocks()] == [
        ("python", "import os"),
        ("bash", "ls"),
        ("json", '{"a": 1}'),
        ("toml", "a = 1"),
    ]


@pytest.mark.parametrize(
    "text", [".. unknown::\n\n    x = 1", ".. code-block:: python\n    :unknown: 1\n\n    x = 1", ":unknown:`x`"]
)
def test_what_could_hide_a_block_is_an_error(root: Path, text: str) -> None:
    (root / "docs" / "page.rst").write_text(text)
    with pytest.raises(ValueError, match=r"docs/page\.rst:\d"):
        blocks()
