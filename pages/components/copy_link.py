"""The button that copies the address of the page."""

from __future__ import annotations

import streamlit as st

# Browsers give the clipboard to secure pages only, such as those of this computer. The selection
# of a text field works on others too.
SCRIPT = """
<script>
(async () => {
    const link = location.href;
    try {
        await navigator.clipboard.writeText(link);
    } catch {
        const field = document.createElement("textarea");
        field.value = link;
        document.body.append(field);
        field.select();
        document.execCommand("copy");
        field.remove();
    }
})();
</script>
"""


def draw_copy_link() -> None:
    """Draw the button. The address holds everything that the page shows."""
    if st.button(
        "Copy link",
        key="copy link",
        help="Copies the address of this page. It opens the page as it is now.",
    ):
        # The browser changes the address a moment after the page, so the script runs last.
        st.html(SCRIPT, unsafe_allow_javascript=True)
        st.toast("Copying the link. It is also in the address bar.")
