"""MaskR²: which place every label takes, what is refused, and the module that applies it."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tte_tee.anatomy import CAMUS, STRUCTURES, TEE, LabelSpace, MaskMap, solve
from tte_tee.anatomy.maskr2 import identity
from tte_tee.errors import UserError
from tte_tee.models.conditioning import encode_condition
from tte_tee.models.maskr2 import MaskR2

X, Y = CAMUS.structures, TEE.structures
PAPER = {"LV": "LV", "LA": "LA", "RV": "LV_epi", "RA": "LV_epi"}
NAMES = tuple(STRUCTURES)
spaces = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple)


@pytest.mark.parametrize(
    "rules",
    [
        {"reduce": {"RHS": ["RV", "RA"]}, "repurpose": {"RHS": "LV_epi"}},
        {"reduce": {"RHS": ["RV", "RA"]}},
        {},
    ],
    ids=["declared", "place left out", "no rule"],
)
def test_the_papers_case_is_solved_however_much_is_declared(rules: dict) -> None:
    rule = solve(X, Y, **rules)
    assert rule.place == PAPER
    assert rule.describe() == "LV -> LV, LA -> LA, RV + RA -> LV_epi"


def test_structures_can_be_kept_from_the_generator() -> None:
    rule = solve(X, (*Y, "tissue"), background=["tissue", "RA"])
    assert rule.place == {"LV": "LV", "LA": "LA", "RV": "LV_epi", "RA": None, "tissue": None}
    assert rule.describe() == "LV -> LV, LA -> LA, RV -> LV_epi, RA + tissue -> background"
    assert [sum(column) for column in zip(*rule.matrix(), strict=True)] == [1, 1, 1, 0, 0]


def test_each_class_can_be_given_its_own_place() -> None:
    rule = solve(("LV", "LV_epi", "tissue"), ("LV", "RV", "RA"), repurpose={"RV": "tissue", "RA": "LV_epi"})
    assert rule.place == {"LV": "LV", "RV": "tissue", "RA": "LV_epi"}


def test_the_last_class_takes_the_last_place() -> None:
    rule = solve(("LV", "LV_epi", "tissue"), ("LV", "RV", "RA"), repurpose={"RV": "tissue"})
    assert rule.place["RA"] == "LV_epi"


def test_a_super_class_may_have_the_name_of_a_member() -> None:
    assert solve(X, Y, reduce={"RV": ["RV", "RA"]}).place == PAPER


def test_same_label_space_changes_nothing() -> None:
    assert solve(X, X).place == identity(X).place == {s: s for s in X}


@pytest.mark.parametrize(
    ("source", "target", "rules", "says"),
    [
        (("LV", "LV_epi", "tissue"), ("LV", "RV"), {}, ["RV", "LV_epi", "tissue", "repurpose"]),
        (("LV", "LV_epi", "tissue"), ("LV", "RV", "RA"), {}, ["RV, RA", "LV_epi, tissue", "repurpose"]),
        (("LV",), ("LV", "RV"), {}, ["no place", "RV", "reduce", "background"]),
        (X, Y, {"repurpose": {"RV": "LV_epi"}}, ["no place", "RA"]),
        (X, Y, {"repurpose": {"RV": "LV_epi", "RA": "LV_epi"}}, ["LV_epi", "two classes", "reduce"]),
        (X, Y, {"repurpose": {"RV": "LA"}}, ["LA", "not free", "LV_epi"]),
        (X, Y, {"repurpose": {"RV": "tissue"}}, ["tissue", "not free", "LV_epi"]),
        (X, Y, {"repurpose": {"RHS": "LV_epi"}}, ["RHS", "RV, RA"]),
        (X, Y, {"repurpose": {"LV": "LV_epi"}}, ["LV", "RV, RA"]),
        (X, Y, {"reduce": {"RHS": ["RV", "tissue"]}}, ["tissue", "no label of the masks"]),
        (X, Y, {"reduce": {"RHS": ["RV", "LV"]}}, ["LV", "both label spaces"]),
        (X, Y, {"reduce": {"RHS": ["RV"], "right": ["RV", "RA"]}}, ["RV", "two rules"]),
        (X, Y, {"reduce": {"RHS": ["RV", "RA"]}, "background": ["RA"]}, ["RA", "two rules"]),
        (X, Y, {"reduce": {"LV": ["RV", "RA"]}}, ["LV", "name of a label"]),
        (X, (*Y, "RHS"), {"reduce": {"RHS": ["RV", "RA"]}}, ["RHS", "name of a label"]),
        (X, Y, {"background": ["LV_epi"]}, ["LV_epi", "no label of the masks"]),
        (X, Y, {"background": ["LV"]}, ["LV", "both label spaces"]),
    ],
)
def test_refused_rules_are_named(source: tuple, target: tuple, rules: dict, says: list[str]) -> None:
    with pytest.raises(UserError, match=r"^maskr2") as error:
        solve(source, target, **rules)
    assert all(words in str(error.value) for words in says), error.value
    assert "\n" not in str(error.value)


@st.composite
def problems(draw: st.DrawFn) -> tuple[tuple, tuple, dict]:
    """Two label spaces and rules that are often right and sometimes wrong."""
    source, target = draw(spaces), draw(spaces)
    reduce = {}
    if draw(st.booleans()):
        reduce["merged"] = draw(st.lists(st.sampled_from(target), min_size=1, unique=True))
    classes = (*target, *reduce)
    repurpose = draw(st.dictionaries(st.sampled_from(classes), st.sampled_from(source), max_size=3))
    background = draw(st.lists(st.sampled_from(target), max_size=2))
    return source, target, {"reduce": reduce, "repurpose": repurpose, "background": background}


def test_rules_solve_or_are_refused_for_any_label_spaces() -> None:
    solved = 0

    @given(problems())
    def check(problem: tuple[tuple, tuple, dict]) -> None:
        nonlocal solved
        source, target, rules = problem
        try:
            rule = solve(source, target, **rules)
        except UserError:
            return
        solved += 1
        check_invariants(rule, rules)

    check()
    assert solved > 5


@given(spaces, spaces)
def test_label_spaces_without_rules_solve_or_are_refused(source: tuple, target: tuple) -> None:
    try:
        rule = solve(source, target)
    except UserError as error:
        assert any(name in str(error) for name in set(target) - set(source))
    else:
        check_invariants(rule, {})


def check_invariants(rule: MaskMap, rules: dict) -> None:
    """One place or background for each structure; shared labels stay; a place is shared by merged ones alone."""
    assert set(rule.place) == set(rule.target)
    assert all(place is None or place in rule.source for place in rule.place.values())
    background = set(rules.get("background", ()))
    assert {t for t in rule.target if rule.place[t] is None} == background
    for structure in set(rule.source) & set(rule.target):
        assert rule.place[structure] == structure
        assert [t for t in rule.target if rule.place[t] == structure] == [structure]
    named = list(rules.get("repurpose", {}).values())
    assert len(set(named)) == len(named)
    columns = list(zip(*rule.matrix(), strict=True))
    assert [sum(column) for column in columns] == [float(t not in background) for t in rule.target]
    for members in rules.get("reduce", {}).values():
        assert len({rule.place[m] for m in members}) == 1


@given(st.permutations(("RV", "RA", "tissue")), st.permutations(("LV_epi", "LA", "RHS")))
def test_declared_places_are_taken_and_shared_by_nobody(classes: list[str], places: list[str]) -> None:
    repurpose = dict(zip(classes, places, strict=True))
    rule = solve(("LV", *places), ("LV", *classes), repurpose=repurpose)
    assert rule.place == {"LV": "LV", **repurpose}


@given(spaces)
def test_ids_count_from_one_in_order(structures: tuple) -> None:
    assume(structures)
    space = LabelSpace("any", structures)
    assert list(space.ids) == list(structures)
    assert list(space.ids.values()) == list(range(1, len(structures) + 1))


@pytest.mark.parametrize(
    ("structures", "says"), [(("LV", "aorta"), "aorta"), (("LV", "LV"), "once"), ((), "at least one")]
)
def test_impossible_label_spaces_are_refused(structures: tuple, says: str) -> None:
    with pytest.raises(UserError, match=says):
        LabelSpace("mine", structures)


@pytest.fixture
def masks() -> torch.Tensor:
    return torch.randint(0, 5, (2, 8, 8), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("learnable", [False, True])
def test_module_starts_as_the_rule(masks: torch.Tensor, learnable: bool) -> None:
    rule = solve(X, Y)
    channels = MaskR2(rule, learnable=learnable)(masks)
    assert channels.shape == (2, 3, 8, 8)
    for channel, place in enumerate(X):
        inside = [TEE.ids[structure] for structure in Y if rule.place[structure] == place]
        assert torch.equal(channels[:, channel], torch.isin(masks, torch.tensor(inside)).float())


def test_background_of_the_mask_lights_no_channel() -> None:
    assert not MaskR2(solve(X, Y))(torch.zeros(1, 4, 4, dtype=torch.long)).any()


@pytest.mark.parametrize("learnable", [False, True])
def test_matrix_is_trained_only_when_asked(masks: torch.Tensor, learnable: bool) -> None:
    module = MaskR2(solve(X, Y), learnable=learnable)
    assert [p.requires_grad for p in module.parameters()] == [learnable]
    output = module(masks)
    assert output.requires_grad == learnable
    if learnable:
        output.square().sum().backward()
        assert module.matrix.grad[X.index("LV_epi"), Y.index("RV")] != 0


def test_sector_does_not_pass_through_the_rule(masks: torch.Tensor) -> None:
    sector = torch.rand(2, 1, 8, 8).round()
    module = MaskR2(solve(X, Y))
    assert torch.equal(encode_condition(module(masks), sector)[:, -1:], 2 * sector - 1)
    assert torch.equal(encode_condition(module(masks * 0), sector)[:, -1:], 2 * sector - 1)
