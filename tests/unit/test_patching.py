"""Patches of modules and classes: refused if the name does not exist, and undone in reverse order."""

import sys
from types import ModuleType
from typing import Any

import pytest

from fakerun.patching import Patches, UnknownNameError


class Base:
    inherited = "base"


class Owner(Base):
    own = "own"


class Descriptor:
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        raise AttributeError("no value on the class")


@pytest.fixture
def torch_2_13(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch of which only the version is known."""
    torch: Any = ModuleType("torch")
    torch.__version__ = "2.13.0+cpu"
    monkeypatch.setitem(sys.modules, "torch", torch)


def test_an_attribute_is_replaced_and_restored() -> None:
    with Patches() as patches:
        patches.set(Owner, "own", "replaced")
        assert Owner.own == "replaced"
    assert Owner.own == "own"


def test_an_inherited_attribute_is_inherited_again() -> None:
    with Patches() as patches:
        patches.set(Owner, "inherited", "replaced")
        assert (Owner.inherited, Base.inherited) == ("replaced", "base")
    assert "inherited" not in vars(Owner)


def test_a_name_replaced_twice_is_what_it_was() -> None:
    with Patches() as patches:
        patches.set(Owner, "own", "first")
        patches.set(Owner, "own", "second")
    assert Owner.own == "own"


def test_changes_are_undone_when_a_later_one_is_refused() -> None:
    patches = Patches()
    patches.set(Owner, "own", "replaced")
    with pytest.raises(UnknownNameError), patches:
        patches.set(Owner, "missing", None)
    assert Owner.own == "own"


@pytest.mark.usefixtures("torch_2_13")
@pytest.mark.parametrize(
    ("owner", "label"), [(Owner, f"{__name__}.Owner"), (ModuleType("torch.somewhere"), "torch.somewhere")], ids=["class", "module"]
)
def test_a_missing_name_is_refused(owner: Any, label: str) -> None:
    with pytest.raises(UnknownNameError) as refused, Patches() as patches:
        patches.set(owner, "_renamed", None)
    assert not hasattr(owner, "_renamed")
    message = str(refused.value)
    assert message.startswith(f"cannot replace {label}._renamed: {label} has no attribute '_renamed' in torch 2.13.0+cpu (Python ")
    assert "Find its new name" in message
    assert "since=" in message
    assert "add()" in message


def test_without_torch_the_version_of_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(UnknownNameError, match=r"in Python 3\.\d+\. Find"), Patches() as patches:
        patches.set(Owner, "missing", None)


@pytest.mark.usefixtures("torch_2_13")
def test_a_name_that_this_version_does_not_have_yet_is_left_out() -> None:
    with Patches() as patches:
        patches.set(Owner, "later", None, since="2.15")
        assert not hasattr(Owner, "later")


@pytest.mark.usefixtures("torch_2_13")
@pytest.mark.parametrize("since", ["2.9", "2.13"])
def test_a_name_that_this_version_should_have_is_refused(since: str) -> None:
    with pytest.raises(UnknownNameError), Patches() as patches:
        patches.set(Owner, "missing", None, since=since)


@pytest.mark.usefixtures("torch_2_13")
def test_a_name_that_exists_is_replaced_whatever_the_version() -> None:
    with Patches() as patches:
        patches.set(Owner, "own", "replaced", since="2.15")
        assert Owner.own == "replaced"


def test_set_all_refuses_a_missing_name() -> None:
    with pytest.raises(UnknownNameError), Patches() as patches:
        patches.set_all(Owner, {"own": "replaced", "missing": None})
    assert Owner.own == "own"


def test_a_descriptor_without_a_value_on_its_class_exists() -> None:
    class Described:
        field = Descriptor()

    kept = vars(Described)["field"]
    with Patches() as patches:
        patches.set(Described, "field", "replaced")
    assert vars(Described)["field"] is kept


@pytest.mark.parametrize("name", ["own", "inherited", "missing"])
def test_added_names_need_not_exist(name: str) -> None:
    before = dict(vars(Owner))
    with Patches() as patches:
        patches.add(Owner, name, "added")
        assert getattr(Owner, name) == "added"
    assert vars(Owner) == before


def test_items_are_restored_or_removed() -> None:
    table = {"kept": 1}
    with Patches() as patches:
        patches.set_item(table, "kept", 2)
        patches.set_item(table, "new", 3)
        assert table == {"kept": 2, "new": 3}
    assert table == {"kept": 1}


def test_an_item_removed_by_other_code_stays_removed() -> None:
    table: dict[str, int] = {}
    with Patches() as patches:
        patches.set_item(table, "new", 3)
        del table["new"]
    assert not table
