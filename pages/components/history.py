"""The history of the browser: one entry for each visit to a page.

Streamlit adds an entry whenever the parameters of the address change, so that after a slider was
moved ten times the button Back has no effect for ten clicks.
"""

from __future__ import annotations

# Topics of the Guide are pages to a reader, so Back returns to the last one; other parameters are
# dropped without an entry. The parameters of a new page may arrive before Streamlit has changed the
# path. Then the entry of the page that is left gets its own parameters back: the new path comes
# with the same parameters. Parameters from before the last click belong to the page that is left.
SCRIPT = """<script>
(() => {
    const push = history.pushState, replace = history.replaceState;
    const topic = (place) => {
        const parameters = new URLSearchParams(place.search);
        return `${parameters.get("topic")} ${parameters.get("section")}`;
    };
    let last = null;
    for (const event of ["click", "popstate"])
        addEventListener(event, () => { last = null; }, true);
    history.pushState = function (state, title, url) {
        const next = new URL(url ?? "", location.href), path = location.pathname;
        const topics = path.endsWith("/Guide") && topic(next) !== topic(location);
        if (next.pathname === path && !topics) {
            if (next.search !== location.search)
                last = {path, before: location.search, search: next.search};
            return replace.call(this, state, title, url);
        }
        if (last?.path === path && last.search === next.search && location.search === next.search)
            replace.call(this, history.state, "", path + last.before);
        last = null;
        return push.call(this, state, title, url);
    };
})();
</script>"""
