"""Loading drivers: each way to be wrong gives one clear error."""

import gc
import importlib.metadata
import sys
import types
import weakref
from dataclasses import dataclass

import pytest

from barque.plugins import discovery
from barque.plugins.configs import build_config
from barque.plugins.facades import NetworkDriver
from barque.plugins.kinds import KINDS, kind_named
from barque.plugins.registry import LoadedDriver, Registry, _contract_problems
from barque.spi.common import Probe
from barque.spi.errors import Conflict, FailedPrecondition, Internal, InvalidArgument, NotFound
from barque.spi.markers import hookimpl
from barque.spi.runtime import RuntimeHooks


@dataclass(frozen=True)
class Config:
    size: int = 1
    name: str = "x"


def make_driver(**hooks):
    """A complete network driver; a hook given as None is left out, others are added or replaced."""
    names = {
        "network_probe": lambda self: Probe(),
        "network_create": lambda self, spec: spec,
        "network_remove": lambda self, spec: None,
        "network_attach": lambda self, spec, netns: None,
        "network_detach": lambda self, endpoint, netns: None,
        "network_restore": lambda self, networks, endpoints: None,
        "network_close": lambda self: None,
    }
    names.update(hooks)
    body = {name: hookimpl(function) for name, function in names.items() if function}
    body["Config"] = Config
    body["capabilities"] = frozenset()
    body["__init__"] = lambda self, name, config: setattr(self, "config", config)
    return type("Driver", (), body)


@pytest.fixture
def install(monkeypatch):
    """install(name, class) makes an entry point of group barque.network.v1."""
    points = []

    monkeypatch.setattr(discovery, "_entry_points", lambda: tuple(points))

    def add(name, target, module="fake_driver_module"):
        if target is not None:
            fake = types.ModuleType(module)
            fake.Driver = target
            monkeypatch.setitem(sys.modules, module, fake)
        points.append(importlib.metadata.EntryPoint(name, f"{module}:Driver", "barque.network.v1"))

    return add


def load(name="mine", options=None):
    registry = Registry()
    return registry, registry.load(kind_named("network"), name, name, options or {}, None)


def test_a_driver_is_loaded_with_its_validated_options(install):
    install("mine", make_driver())
    registry, loaded = load(options={"size": 5})
    assert loaded.config == Config(size=5)
    assert NetworkDriver(registry, loaded).probe().usable


def test_a_missing_driver_names_those_there_are(install):
    install("mine", make_driver())
    with pytest.raises(NotFound, match=r"no network driver 'other' is installed .*mine.*pip install"):
        load("other")


def test_two_distributions_with_one_name_clash(install):
    install("mine", make_driver())
    install("mine", make_driver(), module="another_module")
    with pytest.raises(Conflict, match=r"2 distributions .*uninstall"):
        load()


def test_a_module_that_does_not_import_is_named(install):
    install("mine", None, module="no_such_module_at_all")
    with pytest.raises(
        FailedPrecondition, match=r"network driver 'mine' .*cannot be imported.*no_such_module_at_all"
    ):
        load()


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"network_detach": None}, r"network_detach is missing"),
        ({"network_dettach": lambda self, endpoint: None}, r"network_dettach is no hook of kind network"),
        (
            {"network_attach": lambda self, spec: None},
            r"network_attach\(spec\) should be network_attach\(spec, netns\)",
        ),
    ],
)
def test_hooks_that_do_not_fit_are_named(install, hooks, message):
    install("mine", make_driver(**hooks))
    with pytest.raises(Internal, match=message):
        load()


def test_a_foreign_exception_is_wrapped_with_the_plugins_name(install):
    def broken(self):
        raise KeyError("oops")

    install("mine", make_driver(network_close=broken))
    registry, loaded = load()
    with pytest.raises(Internal, match=r"network driver 'mine' .*failed in network_close: KeyError: 'oops'"):
        NetworkDriver(registry, loaded).close()


def test_an_error_does_not_hold_what_the_hook_was_given(install):
    """An archive that failed to load must be closed, and its space free, without waiting for the garbage collector."""

    class Spec:
        pass

    def refuse(self, spec):
        try:
            raise OSError("full")
        except OSError as error:
            raise Conflict("no") from error

    def attempt(driver):
        spec = Spec()
        with pytest.raises(Conflict, match="no"):
            driver.remove(spec)
        return weakref.ref(spec)

    install("mine", make_driver(network_remove=refuse))
    driver = NetworkDriver(*load())
    gc.disable()
    try:
        assert attempt(driver)() is None
    finally:
        gc.enable()


def test_a_wrong_result_type_is_an_error(install):
    install("mine", make_driver(network_probe=lambda self: "fine"))
    registry, loaded = load()
    with pytest.raises(Internal, match="returned str from network_probe, not Probe"):
        NetworkDriver(registry, loaded).probe()


def test_two_instances_of_one_driver_do_not_answer_for_each_other(install):
    install("mine", make_driver(network_probe=lambda self: Probe(facts={"size": str(self.config.size)})))
    registry = Registry()
    kind = kind_named("network")
    one = registry.load(kind, "one", "mine", {"size": 1}, None)
    two = registry.load(kind, "two", "mine", {"size": 2}, None)
    assert NetworkDriver(registry, one).probe().facts["size"] == "1"
    assert NetworkDriver(registry, two).probe().facts["size"] == "2"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sise": 1}, r"network\.mine\.sise: no such option"),
        ({"size": "big"}, r"network\.mine\.size: .*integer"),
    ],
)
def test_wrong_options_name_the_field(options, message):
    with pytest.raises(InvalidArgument, match=message):
        build_config(make_driver(), options, "network.mine")


def test_every_kind_has_few_hooks_and_documents_each():
    for kind in KINDS:
        hooks = kind.hook_names()
        required = [name for name in hooks if not hasattr(getattr(kind.hooks(), name), "barque_needs")]
        assert 2 <= len(required) <= 8, kind
        assert all(getattr(kind.hooks(), name).__doc__ for name in hooks)


def test_a_hook_may_be_left_out_only_without_its_capability():
    hooks = {name: getattr(RuntimeHooks, name) for name in kind_named("runtime").hook_names()}
    body = {name: hookimpl(f) for name, f in hooks.items() if name not in ("runtime_pause", "runtime_resume")}
    driver = type("Driver", (), body)()
    driver.capabilities = frozenset({"exec"})
    loaded = LoadedDriver(kind_named("runtime"), "mine", None, None, driver)
    assert _contract_problems(loaded) == []
    driver.capabilities = frozenset({"exec", "pause"})
    assert [problem.split()[0] for problem in _contract_problems(loaded)] == [
        "runtime_pause",
        "runtime_resume",
    ]


def test_stevedores_cache_is_never_read(install, monkeypatch, tmp_path):
    from stevedore import _cache

    def trap(*_args, **_kwargs):
        raise AssertionError("stevedore looked at its cache")

    monkeypatch.setattr(_cache, "get_group_all", trap)
    install("mine", make_driver())
    assert load()[1].name == "mine"
