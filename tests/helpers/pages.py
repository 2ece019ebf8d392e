"""Pages in a test without a browser, and finished runs to show on them."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import outline
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import DATA, MODEL, Facts
from tests.helpers.project import ROOT
from tests.results.test_models import result


def open_page(name: str, /, **params: str) -> AppTest:
    """A page of the app, opened by a link with these parameters."""
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    if name != "app.py":
        test.switch_page(name)
    for key, value in params.items():
        test.query_params[key] = value
    return test.run()


def texts(test: AppTest) -> str:
    """All texts of a page, but for those in charts and tables."""
    parts = [test.title, test.header, test.markdown, test.caption, test.info, test.error]
    parts += [test.warning, test.success]
    return "\n".join(str(element.value) for part in parts for element in part)


def put(store: Store, key: str, kind: str, value: object) -> None:
    """Publish a result under the key of a stage."""
    with store.building(key) as folder:
        store.publish(key, folder, kind=kind, parent="", settings={}, result=value)


def finished(cache: Cache, spec: Spec = QUICKSTART, label: str = "Quick start") -> str:
    """The id of a job whose stages are all in the store, with invented results."""
    queue, store = Queue(cache.queue), Store(cache)
    stages = plan(spec, Facts(spec))
    sparsities = {model.key: model.target for model in outline(stages).models}
    for stage in stages.stages:
        value = {"inspect_dataset": DATA, "inspect_model": MODEL}.get(
            stage.kind, {"notes": ["A note."]}
        )
        if (sparsity := sparsities.get(stage.key)) is not None:
            value = result(round(80 * sparsity), 0.9 - 0.3 * sparsity, 2, 4)
        put(store, stage.key, stage.kind, value)
    job = queue.submit(spec, label)
    queue.expand(job, stages, [stage.key for stage in stages.stages])
    return job
