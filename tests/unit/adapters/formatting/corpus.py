"""Answers as language models write them, and some that no model should. Made up for these tests."""

from __future__ import annotations

PARAGRAPH = (
    "The **deploy** of `billing-api` went through at 14:05, and *no* request failed. "
    "See [the dashboard](https://grafana.example.com/d/abc?from=now-1h&to=now) for more. "
)

CORPUS: dict[str, str] = {
    "one line": "Done, the report is in the channel.",
    "emphasis": "This is **bold**, *italic*, ***both***, ~~gone~~ and **bold with *italic* inside**.",
    "emphasis in words": "un**believ**able, これは**重要**です, 2*3*4, snake_case_name and __init__.py",
    "headings": "# Report\n\n## What happened\n\nNothing.\n\n#### Details of `x`\n\nSetext\n------\n\nEnd",
    "nested lists": "- fruit\n  - apples\n    - red\n    - green\n  - pears\n- nuts\n\nDone.",
    "ordered from three": "3. third\n4. fourth\n   - a detail\n   - another\n5. fifth",
    "loose list": "1. **First**\n\n   With a paragraph.\n\n2. **Second**\n\n   - and a list",
    "tasks": "- [x] write it\n- [ ] test it\n- [ ] ship it",
    "table": "| Service | Load | Note |\n|:---|---:|:---:|\n| api | 12 % | ok |\n| worker-7 | 100 % | **hot** |",
    "wide table": "| 名前 | 数 |\n|---|---|\n| りんご | 3 |\n| café ☕ | 12 |\n| \N{FAMILY} x | 1 |",
    "ragged table": "| a | b | c |\n|---|---|---|\n| 1 |\n| 1 | 2 | 3 | 4 |\n| `x | y` | \\| |",
    "code": 'Run this:\n\n```python\nif a < b and c > d:\n    print("<b>&amp;</b>")\n```\n\nThen `ls -l`.',
    "code with backticks": "Use `` `date` `` or ``a``` b``, and:\n\n````md\n```py\nx = 1\n```\n````",
    "fences in lists": "1. Install:\n   ```sh\n   get x\n\n   x --init\n   ```\n2. Run:\n\n   ~~~\n   x\n   ~~~",
    "deep fence": "- a\n  - b\n    - c\n\n      ```js\n      let x = `y`;\n      ```\n\n    - d",
    "unclosed fence": "Here:\n\n```go\nfunc main() {\n\tpanic(1)\n}",
    "empty fence": "```\n```",
    "links": '[a](https://x.org/w_(b)) [p|q](https://x.org/?a|b>c "title") [mail](mailto:me@x.org) [doc](docs/a.md)',
    "bad links": "[x](javascript:alert(1)) [y](!channel) <slack://x> [z](https://x|!here>) [](https://x.org)",
    "bare URLs": "https://x.org/a_b_c?d=*e*&f=~g and <https://x.org/h_i_j>, www.x.org (https://x.org/k).",
    "images": "![a chart](https://x.org/c.png) ![](https://x.org/d.png) [![badge](https://x.org/b.svg)](https://x.org)",
    "mentions": "<!channel> <!here|x> <@U123ABC> <#C123> <!subteam^S1> @everyone @here <@&42> <t:1700000000:R>",
    "HTML": "<b>not bold</b><br>\n<script>a()</script>\n\n<div>\n\n**bold**\n\n</div> &lt;i&gt; &copy; &nbsp; &#35;",
    "quotes": "> said\n> **twice**\n>\n> > and before\n> > that\n>\n> - a\n>\n> ```\n> code\n> ```\n\nAnswer.",
    "quotes in lists": "- a\n  > quoted\n  > more\n- > at once\n- # Heading\n- ```\n  code\n  ```",
    "escaped": "\\*no\\* \\_no\\_ \\`no\\` \\~\\~no\\~\\~ \\[no](x) \\\\ \\```\n\n\\# no\n\n\\> no\n\n\\- no\n1\\. no",
    "rules": "above\n\n---\n\nbetween\n\n***\n\nbelow\n- - -\nend",
    "breaks": "one  \ntwo\\\nthree\nfour",
    "sources": 'It is so [1], they say [2].\n\n[1]: https://x.org/one\n[2]: https://x.org/two "Two"',
    "emoji": "🚀 by 👩🏽‍🚀 in 🇨🇭🇩🇪 :tada: \N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16} e\N{COMBINING ACUTE ACCENT}",
    "right to left": "שלום **עולם**, [קישור](https://x.org/א)\n\n- مرحبا\n- `كود` *مائل*",
    "control characters": "a\x00b\x07c\x1b[31md\x7fe\ud800f\N{ZERO WIDTH SPACE}g\r\nh\ri",
    "lone marks": "* ** _ __ ~ ~~ ` `` ``` [ ]( ) ! | > # < & 5 > 3 * 2\n`open\n**open\n[open](",
    "long": "\n\n".join(f"## Part {number}\n\n" + PARAGRAPH * 4 + "\n\n- one\n- two" for number in range(30)),
}

DEEP: dict[str, str] = {
    "quotes": ">" * 5000 + "x",
    "quotes with spaces": "> " * 5000 + "x",
    "brackets": "[" * 5000,
    "closed brackets": "[" * 5000 + "x" + "](https://x.org)" * 400,
    "images": "![" * 4000 + "x",
    "nested images": "![" * 600 + "x" + "](u)" * 600,
    "stars": "*" * 5000,
    "emphases": "*a " * 2500 + "b* " * 2500,
    "strong emphases": "**a *b " * 1500,
    "lists in a line": "- " * 5000 + "x",
    "numbers in a line": "1. " * 4000 + "x",
    "lists by indentation": "\n".join("  " * depth + "- x" for depth in range(105)),
    "quotes by line": "\n".join(">" * depth + " x" for depth in range(150)),
    "backticks": "".join("`" * count + " " for count in range(1, 150)),
    "pipes": "|" * 4000 + "\n" + "|-" * 3000 + "\n" + "|a" * 3000,
    "tildes": "~~a " * 3000,
    "angles": "<" * 12000,
    "ampersands": "&" * 12000,
    "backslashes": "\\" * 12000,
    "empty lines": "\n" * 12000,
    "accents": "e" + "\N{COMBINING ACUTE ACCENT}" * 12000,
    "flags": "🇨🇭" * 3000,
    "fences": "```\n" * 3000,
}
