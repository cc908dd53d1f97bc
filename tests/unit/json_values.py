"""Values as models and callers send them, with everything that Postgres does not take."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# st.text() leaves out surrogates; json.loads gives them for "\ud800".
awkward = st.sampled_from(["\0", "\ud83d", "\ude00", "\\u0000", "\\ud800", "😀", "\ufffd", "\u2028", '"', "\\"])
any_text = st.lists(st.one_of(st.characters(exclude_categories=()), awkward), max_size=8).map("".join)

any_scalar = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**40), max_value=10**40),
    st.floats(allow_nan=True, allow_infinity=True),
    any_text,
)
any_json: st.SearchStrategy[Any] = st.recursive(
    any_scalar,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
