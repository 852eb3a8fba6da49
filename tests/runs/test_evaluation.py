from mixgrpo.runs.evaluation import weighted_total


def test_the_total_counts_rewards_by_their_weights_and_leaves_out_those_that_are_observed() -> None:
    means = {"a": {"star": 9.0, "overall": 1.0}, "b": {"overall": -2.0}, "observed": {"overall": 100.0}}
    assert weighted_total(means, {"a": 1.0, "b": 0.25}) == 0.5
