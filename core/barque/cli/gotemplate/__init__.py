"""Go's text/template, as much of it as people write after `--format`.

Actions: pipelines, if/else if/else, range (with else, break, continue, `$i, $v :=`), with, variables, comments, trim
markers. Functions: Go's own and Docker's (json, join, split, lower, upper, title, pad, truncate, println).
Left out: define, template and block, which a one-line format has no use for; they are an error that says so.
"""

from __future__ import annotations

from barque.cli.gotemplate.compiler import Template
from barque.cli.gotemplate.values import NO_VALUE, Record, TemplateError

__all__ = ["NO_VALUE", "Record", "Template", "TemplateError"]
