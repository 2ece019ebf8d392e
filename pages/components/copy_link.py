"""The button that copies the address of the page."""

from __future__ import annotations

import streamlit as st

CLICKS = "clicks on Copy link"  # the key of the session: their number
# Browsers give the clipboard to secure pages only, such as those of this computer. The selection
# of a text field works on others too. Where neither does, the link is shown, to copy it by hand.
SCRIPT = """
<style>
#copied-link:empty {display: none;}
#copied-link {font-size: 0.875rem; padding-top: 0.35rem;}
#copied-link input {font: inherit; width: 100%; padding: 0.25rem; box-sizing: border-box;}
</style>
<div id="copied-link" role="status" data-click="NUMBER"></div>
<script>
(async () => {
    const link = location.href, place = document.getElementById("copied-link");
    const field = document.createElement("input");
    field.value = link;
    field.readOnly = true;
    let copied = false;
    try {
        await navigator.clipboard.writeText(link);
        copied = true;
    } catch {
        place.append(field);
        field.select();
        try { copied = document.execCommand("copy"); } catch { copied = false; }
    }
    if (copied) {
        place.textContent = "Link copied.";
        return;
    }
    const label = document.createElement("label");
    label.textContent = "The browser did not copy the link. Copy it here: ";
    label.append(field);
    place.replaceChildren(label);
    field.select();
})();
</script>
"""


def draw_copy_link() -> None:
    """Draw the button, and what the browser has done. The address holds all that the page shows."""
    if st.button(
        "Copy link",
        key="copy link",
        help="Copies the address of this page. It opens the page as it is now.",
    ):
        # The browser runs no script a second time that has not changed since the last click.
        number = st.session_state[CLICKS] = st.session_state.get(CLICKS, 0) + 1
        st.html(SCRIPT.replace("NUMBER", str(number)), unsafe_allow_javascript=True)
