import itertools

import pytest

from mixgrpo.models.base import FlowModel
from mixgrpo.sampling.plan import make_plan, ode_plan, suffix_calls
from mixgrpo.sampling.schedule import SigmaGrid, shifted_linspace
from mixgrpo.sampling.steppers.ode import ORDER, Solver
from mixgrpo.sampling.steppers.sde import SDE_STEPS, SdeType

GRID = shifted_linspace(25, 3.0)


@pytest.mark.parametrize("kind", SDE_STEPS)
@pytest.mark.parametrize("solver", ORDER)
@pytest.mark.parametrize("ratio", [1.0, 0.6, 0.4, 0.2, 0.01])
def test_every_combination_is_one_unbroken_path_to_zero(kind: SdeType, solver: Solver, ratio: float) -> None:
    for start, size in itertools.product(range(24), (1, 2, 4, 24)):
        if start + size > 24:
            continue
        window = range(start, start + size)
        plan = make_plan(GRID, window, sde_type=kind, suffix_solver=solver, compress_ratio=ratio)
        assert plan.steps[0].sigma == GRID.sigmas[0]
        assert plan.steps[-1].sigma_next == 0
        assert all(a.sigma_next == b.sigma for a, b in itertools.pairwise(plan.steps))
        assert all(step.sigma > step.sigma_next for step in plan.steps)
        assert [i for i, step in enumerate(plan.steps) if step.stochastic] == list(window) == list(plan.trained)


@pytest.mark.parametrize("solver", ORDER)
def test_every_combination_works_on_the_models_own_grid(model: FlowModel, solver: Solver) -> None:
    grid = model.grid(10)
    for kind, start in itertools.product(SDE_STEPS, range(8)):
        plan = make_plan(grid, range(start, start + 2), sde_type=kind, suffix_solver=solver, compress_ratio=0.4)
        assert plan.steps[-1].sigma_next == 0
        assert all(step.sigma > step.sigma_next for step in plan.steps)


def test_uncompressed_plans_walk_the_grid_itself() -> None:
    plan = make_plan(GRID, range(3, 7))
    assert tuple(step.sigma for step in plan.steps) == GRID.sigmas[:-1]


def test_compression_keeps_the_published_number_of_calls() -> None:
    """int(remaining * ratio) points from the window's last step on, hence one call fewer; never none."""
    published = {(0, 0.2): 3, (0, 0.4): 7, (9, 0.4): 4, (0, 1.0): 21, (12, 1.0): 9}
    assert {key: suffix_calls(25, key[0] + 4, key[1]) for key in published} == published
    # At these positions the reference's suffix has no call left.
    assert [suffix_calls(25, start + 4, 0.4) for start in (18, 19, 20)] == [1, 1, 1]


def test_the_last_step_is_never_stochastic() -> None:
    with pytest.raises(ValueError, match=r"window \[21, 22, 23, 24\] contains the last of 25 steps"):
        make_plan(GRID, range(21, 25))


def test_only_stochastic_steps_can_be_trained() -> None:
    with pytest.raises(ValueError, match="must lie in the window"):
        make_plan(GRID, range(4), trained=[3, 4])


def test_price_of_mixgrpo_by_hand() -> None:
    """DESIGN: prefix / G + 1 / G + (w - 1) + suffix calls, and 1 / G + (w - 1) forward-backwards."""
    plan = make_plan(GRID, range(8, 12))
    shared, alone = plan.price(12, shared=True), plan.price(12, shared=False)
    assert shared.rollout_calls == pytest.approx(8 / 12 + 1 / 12 + 3 + 13)
    assert shared.update_passes == pytest.approx(1 / 12 + 3)
    assert (alone.rollout_calls, alone.update_passes) == (25, 4)
    assert alone.cost(3) == 37


def test_each_mini_batch_with_images_of_a_group_runs_the_states_in_common() -> None:
    plan = make_plan(GRID, range(8, 12))
    assert plan.price(12, shared=True, parts=4).update_passes == pytest.approx(4 / 12 + 3)
    assert plan.price(12, shared=True, parts=20).update_passes == 4  # no image is in two of them
    assert plan.price(12, shared=False, parts=4).update_passes == 4
    assert plan.price(12, shared=True, parts=4).rollout_calls == plan.price(12, shared=True).rollout_calls


def test_price_of_dancegrpo_by_hand() -> None:
    """All but the last step sampled with SDE, 14 of them trained."""
    with_first = make_plan(GRID, range(24), trained=range(14)).price(12, shared=True)
    without_first = make_plan(GRID, range(24), trained=range(1, 15)).price(12, shared=True)
    assert with_first.rollout_calls == without_first.rollout_calls == pytest.approx(1 / 12 + 24)
    assert with_first.update_passes == pytest.approx(1 / 12 + 13)
    assert without_first.update_passes == 14
    assert make_plan(GRID, range(24), trained=range(14)).price(12, shared=False).cost(3) == 25 + 3 * 14


def test_a_deterministic_plan_costs_a_group_one_trajectory() -> None:
    assert ode_plan(GRID).price(12, shared=True).rollout_calls == pytest.approx(25 / 12)
    assert ode_plan(GRID).trained == ()


def test_history_is_as_long_as_the_solver_looks_back() -> None:
    window = range(4)
    depths = {s: make_plan(GRID, window, suffix_solver=s).history_depth for s in ORDER}
    assert depths == {"euler": 0, "dpm++1": 0, "dpm++2-midpoint": 1, "dpm++2-heun": 1, "dpm++3": 2}


def test_a_suffix_that_looks_back_on_itself_is_the_trajectory_that_begins_there() -> None:
    """With the published history its first step looks back over the window's noise already."""
    window = range(4, 6)
    own = make_plan(GRID, window, suffix_solver="dpm++2-midpoint", compress_ratio=0.4, history="suffix")
    published = make_plan(GRID, window, suffix_solver="dpm++2-midpoint", compress_ratio=0.4)
    looks_back = [[len(step.move.history_coefs) for step in plan.steps[6:]] for plan in (own, published)]
    assert looks_back == [[0, *[1] * 5, 0], [*[1] * 6, 0]]
    begun_there = ode_plan(SigmaGrid((*(step.sigma for step in own.steps[6:]), 0.0), shift=3.0), "dpm++2-midpoint")
    assert [step.move for step in begun_there.steps] == [step.move for step in own.steps[6:]]


def test_a_two_step_grid_has_room_for_a_window_of_one() -> None:
    plan = make_plan(SigmaGrid((1.0, 0.5, 0.0), shift=1.0), range(1))
    assert [step.stochastic for step in plan.steps] == [True, False]
