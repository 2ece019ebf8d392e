"""What Streamlit leaves out for people who use a keyboard or a screen reader.

Streamlit gives no way to set the role of a container, so a script sets it after each change of the
page. The style makes small text, the text of charts and the focus visible enough: contrast is at
least 4.5 to 1 in light and dark (WCAG 2.2, https://www.w3.org/TR/WCAG22/#contrast-minimum).
"""

from __future__ import annotations

# The attributes of elements, by selector. A region that is live is read out when it changes.
SCRIPT = """<script>
(() => {
    const attributes = [
        [".st-key-navigation", {role: "navigation", "aria-label": "Pages"}],
        [".st-key-activity", {role: "status"}],
        ["[class*=st-key-progress]", {role: "status"}],
        ["[data-testid=stToastContainer]", {role: "status"}],
        // What scrolls sideways is reached by the keyboard.
        ["[data-testid=stCode] pre", {tabindex: "0"}],
        [".matrix, .st-key-guide div:has(> table)", {tabindex: "0"}],
    ];
    const parts = "[data-testid=stMain] [data-testid=stElementContainer] button[aria-label]"
        + ":is([data-testid=stElementToolbar] *, .modebar *, [data-testid=stNumberInput] *,"
        + " [data-testid=stSelectbox] *, [data-testid=stMultiSelect] *,"
        + " [data-testid=stCode] *)";
    const named = new WeakMap();
    const headingBefore = (place) => [...document.querySelectorAll("h1, h2, h3, summary")]
        .findLast(one => one.compareDocumentPosition(place) & Node.DOCUMENT_POSITION_FOLLOWING)
        ?.innerText.trim();
    const apply = () => {
        queued = false;
        for (const [selector, values] of attributes)
            for (const element of document.querySelectorAll(selector))
                for (const [name, value] of Object.entries(values))
                    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
        // Streamlit gives the buttons of all charts, tables and fields the same names. They get the
        // key of their element, or of the container of this element alone, or the heading before
        // them. A name that the page has already gets a number.
        const count = {};
        for (const button of document.querySelectorAll(parts)) {
            const place = button.closest("[data-testid=stElementContainer]");
            const alone = place.parentElement.childElementCount === 1;
            const classes = place.className + (alone ? ` ${place.parentElement.className}` : "");
            const key = classes.match(/st-key-(\\S+)/)?.[1].replaceAll("-", " ");
            const code = button.closest("[data-testid=stCode]")?.querySelector("code");
            const owner = code?.textContent.slice(0, 80).trim()
                || place.querySelector("input[aria-label]")?.ariaLabel || key
                || headingBefore(place);
            const before = named.get(button);
            const name = before?.full === button.ariaLabel ? before.name : button.ariaLabel;
            if (!owner || name.includes(owner)) continue;
            const repeated = `${name}: ${owner}`;
            count[repeated] = (count[repeated] ?? 0) + 1;
            const full = repeated + (count[repeated] > 1 ? ` (${count[repeated]})` : "");
            named.set(button, {name, full});
            if (button.ariaLabel !== full) button.ariaLabel = full;
        }
        for (const link of document.querySelectorAll(".st-key-navigation a")) {
            // The link to Home has no path.
            const path = (link.getAttribute("href") ?? "").split("?")[0];
            const here = path.split("/").pop() === location.pathname.split("/").pop();
            const current = here && !link.closest(".st-key-activity");
            if (current) link.setAttribute("aria-current", "page");
            else link.removeAttribute("aria-current");
        }
    };
    let queued = false;
    new MutationObserver(() => {
        if (queued) return;
        queued = true;
        requestAnimationFrame(apply);
    }).observe(document, {childList: true, subtree: true, attributeFilter: ["aria-label"]});
})();
</script>"""
STYLE = """
<style>
:root {--chart-text: light-dark(#3a4250, #d3d8e1);}
[data-testid="stCaptionContainer"] {opacity: 1 !important;}
:is([data-testid="stCaptionContainer"] :is(p, li), [data-testid="InputInstructions"]) {
    color: light-dark(#4f5763, #b6bcc6) !important;
}
:is(a, button, input, textarea, summary, pre, [role]):focus-visible {
    outline: 3px solid light-dark(#b35900, #ffb454) !important; outline-offset: 2px;
}
[data-testid="stBaseButton-primary"]:not(:disabled),
[data-testid="stMultiSelect"] span[title],
[data-testid="stBaseButton-segmented_controlActive"] {color: light-dark(#ffffff, #0b0f15);}
.js-plotly-plot :is(.infolayer, [class*="axislayer"]) text {fill: var(--chart-text) !important;}
.st-key-activity a {background: transparent !important;}
[data-testid="stCode"] pre, [data-testid="stCode"] code {white-space: pre-wrap !important;}
[data-testid="stCode"] .token {color: inherit !important;}
</style>
"""
