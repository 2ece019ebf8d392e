"""The allocation of sparsities to the layers from a sensitivity analysis: its controls."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from pages.components.address import Address, Parameter, choice, number
from pages.components.lab import Lab
from pages.components.markdown import inline
from pages.components.run_stage import run_stage
from pruning_core.common.errors import SpecError
from pruning_core.methods.budgets import BUDGETS, TIME, ZEROS, read_limit
from pruning_core.planning.plan import plan
from pruning_core.planning.timing import sparse_speedup_stage
from pruning_core.results.budget_allocation import allocate_within, allocation_text
from pruning_core.results.budget_costs import budget_facts
from pruning_core.results.sensitivity import allocate, rounded
from pruning_core.results.sparse_speedup import sparse_speedup_frame
from pruning_core.settings.messages import for_page
from pruning_core.settings.spec import Spec

EQUAL_DROP, LEAST_LOSS = "equal_drop", "least_loss"
RULES = {
    EQUAL_DROP: ("Equal accuracy drop", "Every layer alone loses the same accuracy."),
    LEAST_LOSS: ("Budget (least loss)", "The losses of the layers have the least sum."),
}
PARAMETERS = (
    choice("allocate", list(RULES)),
    choice("budget", list(BUDGETS)),
    Parameter("limit"),
    number("overall", 80.0, 1.0, 99.0),
)


def draw_allocation(
    lab: Lab, spec: Spec, analysis: pd.DataFrame, address: Address
) -> dict[str, float]:
    """How sparsities are allocated, the limit, and the button that does it.

    `analysis` is the whole sensitivity analysis, empty if it is not finished; `address` must have
    the `PARAMETERS`. Returns the sparsities by layer after a click, else none.
    """
    rule = pick_rule(address)
    budget = pick_budget(address) if rule == LEAST_LOSS else ZEROS
    limit_text = draw_overall(address) if budget == ZEROS else draw_limit(budget, address)
    if analysis.empty:
        st.caption(
            "Enter a sparsity for each layer. After a sensitivity analysis with the unit layer, "
            "this page can suggest them."
        )
    needs_times = budget == TIME and not analysis.empty
    kernels = timed_kernels(lab, spec) if needs_times else pd.DataFrame()
    if not st.button(
        "Allocate from sensitivity",
        disabled=analysis.empty or (needs_times and kernels.empty),
        help="Fills the table below. You can change each sparsity afterwards.",
    ):
        return {}
    try:
        limit = read_limit(budget, limit_text)
        if rule == EQUAL_DROP:
            return rounded(analysis, allocate(analysis, limit), limit)
        facts = budget_facts(analysis, spec, lab.store, kernels)
        chosen = allocate_within(facts, budget, limit)
    except SpecError as error:
        st.error(inline(for_page(error.for_field(""))))
    except ValueError as error:
        st.error(inline(f"{BUDGETS[budget].title}: {error}"))
    else:
        st.success(inline(allocation_text(chosen, facts, budget)))
        return chosen.sparsities
    return {}


def pick_rule(address: Address) -> str:
    """How the sparsities are allocated, one of `RULES`."""
    rule = address["allocate"]
    st.radio(
        "Allocate by",
        list(RULES),
        index=list(RULES).index(rule),
        format_func=lambda name: RULES[name][0],
        captions=[text for _, text in RULES.values()],
        horizontal=True,
        key=address.key("allocate"),
        help="Both use the sensitivity analysis of layers.",
    )
    return str(address["allocate"])


def draw_overall(address: Address) -> str:
    """The slider of the overall sparsity. Returns its text, in percent."""
    percent = st.slider(
        "Overall sparsity",
        1.0,
        99.0,
        address["overall"],
        0.5,
        format="%.1f %%",
        key=address.key("overall"),
        help="The sparsity of all analyzed layers together.",
    )
    return f"{percent}%"


def pick_budget(address: Address) -> str:
    """What the budget limits, one of `BUDGETS`."""
    titles = {name: method.title for name, method in BUDGETS.items()}
    address.select_box("budget", "Budget", titles, "What the sparsities together must keep to.")
    return str(address["budget"])


def draw_limit(budget: str, address: Address) -> str:
    """The field of an upper limit. Returns its text."""
    method = BUDGETS[budget]
    unit = next(iter(method.units))
    return st.text_input(
        f"{method.title} (limit)",
        address["limit"],
        key=address.key("limit"),
        placeholder=f"2 {unit}",
        help=f"{method.help} Give a number with a unit: {', '.join(method.units)}.",
    )


def timed_kernels(lab: Lab, spec: Spec) -> pd.DataFrame:
    """The times of the kernels of the baseline's layers on this machine; empty until measured."""
    baseline = plan(replace(spec, seeds=spec.seeds[:1]), lab.store).models[0]
    stage = sparse_speedup_stage(baseline.key)
    text = "Takes about a minute. The worker runs nothing else meanwhile."
    if not run_stage(lab, [stage], "Measure kernels", busy="Measuring kernels", help=text):
        return pd.DataFrame()
    return sparse_speedup_frame(stage, lab.store)
