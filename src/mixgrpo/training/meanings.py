"""What the metrics of an iteration mean: the keys of a line of metrics.jsonl. Imports nothing, because
`mixgrpo explain` answers at once.
"""

METRICS: dict[str, str] = {
    "iteration": "Number of the iteration, from 0.",
    "window": "The stochastic steps; with windows of each prompt, all steps that any of them has.",
    "rewards": "Mean of each reward over the images of the iteration, those that are only observed included.",
    "reward_std": "Standard deviation of each reward within a group, averaged over the groups. Near 0 there is nothing "
    "to learn from.",
    "failed_scores": "Images that a reward has no score for, after all retries. They are left out of their groups.",
    "retried_scores": "Scores that were asked for again.",
    "score_errors": "The last error of each reward with failed scores.",
    "skipped_groups": "Groups whose rewards are all equal. They teach nothing, and the update leaves them out.",
    "loss": "Mean of the objective's loss; of clipped-ratio without the KL. It is no measure of progress.",
    "clip_fraction": "Fraction of the ratios that reached the clip range, so that their gradient was cut.",
    "ratio_deviation": "Mean of |ratio - 1|: how far the updates of this iteration moved the policy.",
    "kl": "Mean KL divergence to the model before training. Only with objective.kl_weight above 0.",
    "first_ratio_error": "Largest |ratio - 1| before the iteration's first optimizer step, where it should be 1: "
    "the numerical mismatch of rollout and update.",
    "distance_to_old": "Mean squared distance to the velocity before the update. Only where the objective weighs it.",
    "update_rows": "Rows of forward-backward passes: what the update cost, in images and steps.",
    "grad_norm": "Largest norm of the gradient in this iteration, before update.max_grad_norm scales it down.",
    "learning_rate": "Learning rate of this iteration.",
    "seconds": "Time of each stage: scouting, rollout, waiting for rewards, update.",
    "evaluation": "Mean of each reward on the evaluation prompts, and the diversity of their images. Only after "
    "iterations with an evaluation.",
}
