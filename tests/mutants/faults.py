"""Small faults in the files of the method. `make mutants` puts in one at a time and expects a test to fail.

For each file: the tests to run, and pairs of a line's text and what replaces it. Each text occurs once in its file.
"""

FAULTS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "sampling/schedule.py": (
        "tests/sampling/test_schedule.py",
        [
            ("shift * t / (1 + (shift - 1) * t)", "shift * t / (1 - (shift - 1) * t)"),
            ("sigma / (shift - (shift - 1) * sigma)", "sigma / (shift + (shift - 1) * sigma)"),
            ("* fraction / num_steps, self.shift", "* fraction / remaining, self.shift"),
            ("shift_time(1 - i / num_steps, shift)", "shift_time(1 - i / (num_steps + 1), shift)"),
            ("or self.sigmas[-1] != 0 or", "or"),
        ],
    ),
    "sampling/window.py": (
        "tests/sampling/test_window.py tests/sampling/test_conformance.py tests/recipe/test_load.py",
        [
            ("range(envelope.start, last + 1, stride)", "range(envelope.start, last, stride)"),
            ("if iteration < duration:", "if iteration <= duration:"),
            ("iteration %= sum(durations)", "iteration %= sum(durations) + 1"),
            ("longest - (longest - shortest) * offset", "longest + (longest - shortest) * offset"),
            ("max(0, offset - threshold)", "max(0, offset)"),
            ("math.ceil(iterations", "math.floor(iterations"),
            ("random.Random(seed + iteration)", "random.Random(seed)"),
            ("envelope.stop - size)", "envelope.stop - size - 1)"),
            ("int(len(window) * fraction)", "len(window)"),
            ("starts if wrap or starts[-1] == last else [*starts, last]", "starts"),
            ("[self.iters_per_group] * len(starts)", "[1] * len(starts)"),
            ('random.Random(f"{seed}/{iteration}")', 'random.Random(f"{seed}")'),
        ],
    ),
    "sampling/plan.py": (
        "tests/sampling/test_plan.py tests/sampling/test_conformance.py tests/sampling/test_rollout.py",
        [
            ("self.window.start + 1 if self.window", "self.window.start if self.window"),
            ("if shared else (1.0, 1.0)", "if group_size else (1.0, 1.0)"),
            ("min(parts / group_size, 1.0)", "1 / group_size"),
            ("int(remaining * compress_ratio) - 1)", "int(remaining * compress_ratio))"),
            ("num_steps - (window_stop - 1)", "num_steps - window_stop"),
            ("trained=i in trained", "trained=True"),
            ('steps if history == "trajectory" else steps[window.stop :]', "steps"),
            ("2 if short and calls_left == 2 else 3", "3"),
            ("if window.stop >= grid.num_steps:", "if window.stop > grid.num_steps:"),
            ("self.rollout_calls + pass_cost * self.update_passes", "self.rollout_calls + self.update_passes"),
        ],
    ),
    "sampling/steppers/gaussian.py": (
        "tests/sampling/steppers tests/sampling/test_conformance.py tests/objectives/test_image_credit.py",
        [
            ("move.x_coef * x + move.velocity_coef", "move.x_coef * x - move.velocity_coef"),
            ("return mean + move.std * noise", "return mean - move.std * noise"),
            ("-0.5 * error.square()", "-error.square()"),
            (".flatten(1).mean(1) - normaliser", ".flatten(1).mean(1) + normaliser"),
            ("(-0.5 * error.square()).flatten(1).mean(1)", "(-0.5 * error.square()).flatten(1).sum(1)"),
            ("return x - sigma * velocity", "return x + sigma * velocity"),
            ("(mean - move.x_coef * x)", "(mean + move.x_coef * x)"),
            ("mean = mean + coef * x0", "mean = mean - coef * x0"),
        ],
    ),
    "sampling/steppers/sde.py": (
        "tests/sampling/steppers tests/sampling/test_conformance.py tests/objectives/test_published_objectives.py",
        [
            ("rate**2 / (2 * sigma)", "rate**2 / sigma"),
            ("std = rate * math.sqrt(-dt)", "std = rate * -dt"),
            ("angle = noise_level * math.pi / 2", "angle = noise_level * math.pi"),
            ("snr_ratio ** (noise_level**2 / 2)", "snr_ratio**noise_level"),
            ("math.sqrt((1 - kept) * (1 + kept))", "1 - kept"),
            ("(1 / sigma_next - 1 / sigma)", "(1 / sigma_next)"),
            ("(1 - sigma) * x1_coef - sigma * x0_coef", "(1 - sigma) * x1_coef"),
            ("sigma_next if sigma > _PURE_NOISE else sigma", "sigma_next"),
            ("_CPS_LOG_PROB_STD = math.sqrt(0.5)", "_CPS_LOG_PROB_STD = 1.0"),
            ("(1 + pull * (1 - sigma)) * dt", "(1 + pull * sigma) * dt"),
        ],
    ),
    "sampling/steppers/ode.py": (
        "tests/sampling/steppers tests/sampling/test_conformance.py",
        [
            ("velocity_coef=sigma_next - sigma)", "velocity_coef=sigma - sigma_next)"),
            ("linear if heun else 0.5 * first", "linear if not heun else 0.5 * first"),
            ("past_sigmas[: ORDER[solver] - 1]", "past_sigmas[: ORDER[solver]]"),
            ("alpha_next * (0.5 - (e - 1 + h) / h**2)", "alpha_next * (1.0 - (e - 1 + h) / h**2)"),
            ("(linear * r0 + quadratic)", "(linear * r0 - quadratic)"),
        ],
    ),
    "sampling/noise.py": (
        "tests/sampling/test_noise.py tests/sampling/test_rollout.py",
        [
            ("(self.seed, self.iteration, *key)", "(self.seed, *key)"),
            ("(self.seed, self.iteration, *key)", "(self.iteration, *key)"),
            ('self._draw("step", prompt, image, step)', 'self._draw("step", prompt, image)'),
            ('self._draw("initial", prompt, image)', 'self._draw("initial", prompt)'),
            ('self._draw("renoise", prompt, image, draw)', 'self._draw("renoise", prompt, image)'),
        ],
    ),
    "sampling/rollout.py": (
        "tests/sampling/test_rollout.py tests/sampling/test_conformance.py",
        [
            ("history.appendleft(", "history.append("),
            ("None if shared_noise else member", "member"),
            ("noise.step(*member, i)", "noise.step(*member, fork)"),
            ("(prompt_ids[n // group_size], n % group_size)", "(n // group_size, n % group_size)"),
            ("(len(x),), step.sigma, device", "(len(x),), step.sigma_next, device"),
            ("one_trunk_per_prompt = shared_noise and share_computation", "one_trunk_per_prompt = False"),
            ("means=trunks.means if at_fork else means[i]", "means=trunks.states if at_fork else means[i]"),
        ],
    ),
    "sampling/field.py": (
        "tests/models/test_text_cache.py",
        [
            ('torch.ones_like(row["embeds"][..., 0]).long()', 'torch.zeros_like(row["embeds"][..., 0]).long()'),
            ("*other_dimensions, 0, missing]", "*other_dimensions, missing, 0]"),
        ],
    ),
    "objectives/advantages.py": (
        "tests/objectives/test_advantages.py tests/objectives/test_published_objectives.py "
        "tests/training/test_step_settings.py",
        [
            (".clamp(-clip, clip)", ""),
            ("(unit + _EPSILON)", "1.0"),
            ("group_std(rewards.view(1, -1))", "group_std(rewards)[:, None]"),
            (".where(_differ(combined), 0.0)", ""),
            ("weights[name] * tensor", "tensor"),
            ('if aggregation == "advantage":', 'if aggregation != "advantage":'),
            (".amin(1) > _EQUAL", ".amin(1) > 0"),
            ("(squares.isfinite().sum(1) - 1).clamp(min=0)", "squares.isfinite().sum(1)"),
            (".isfinite().all(0)", ".isfinite().any(0)"),
            ("rewards - rewards.nanmean(1, keepdim=True)) / (", "rewards) / ("),
        ],
    ),
    "objectives/clipped_ratio.py": (
        "tests/objectives/test_clipped_ratio.py tests/training/test_update.py tests/training/test_step_settings.py "
        "tests/training/test_window_per_prompt.py",
        [
            ("gaussian_kl(means, advance", "gaussian_kl(means.detach(), advance"),
            ("value + settings.kl_weight * kl", "value + kl"),
            ("- log_prob(move, arrived, old_mean)", "- log_prob(move, arrived, mean)"),
            ("old_means[state_of], advantages[selection.images]", "old_means[state_of], advantages[: len(state_of)]"),
            ("value, error = step.weight * result.value,", "value, error = result.value,"),
            ("if settings.guarded:", "if False:"),
            ("if settings.divergence is None:", "if True:"),
            ("advantages = advantages[transition.images.start : transition.images.stop]", "pass"),
        ],
    ),
    "objectives/ratio.py": (
        "tests/objectives/test_clipped_ratio.py tests/objectives/test_published_objectives.py",
        [
            ("free, bounded = -advantage * ratio, -advantage", "free, bounded = advantage * ratio, -advantage"),
            ("torch.maximum(free, bounded)", "torch.minimum(free, bounded)"),
            ("torch.maximum(free, bounded)", "free"),
            ("ratio.clamp(1 - clip_range, 1 + clip_range)", "ratio.clamp(1 - 2 * clip_range, 1 + clip_range)"),
            (".flatten(1).mean(1) / 2", ".flatten(1).mean(1)"),
            ("(divergence >= threshold) & went_along", "divergence >= threshold"),
            ("(divergence >= threshold)", "(divergence > threshold)"),
            ("(x_next - old_mean) / std", "(x_next - mean) / std"),
        ],
    ),
    "objectives/velocity_error.py": (
        "tests/objectives/test_published_objectives.py",
        [
            ("return sigma.square() * squared\n", "return sigma * squared\n"),
            ("difference.detach().abs()", "difference.abs()"),
            (".clamp(min=_LEAST_ERROR)", ""),
            ("/ (sigma + 1e-3) * squared", "/ sigma * squared"),
            ("/ power", ""),
        ],
    ),
    "objectives/endpoint_losses.py": (
        "tests/objectives/test_published_objectives.py tests/objectives/test_endpoint.py",
        [
            ("log_ratio.mean(1, keepdim=True)", "log_ratio"),
            ("(advantage / soft_clip).tanh()", "advantage / soft_clip"),
            ("change = old_error - error.detach()", "change = error.detach() - old_error"),
            ("weight = weight * change.exp()", "pass"),
            ("/ advantage_range / 2 + 0.5", "/ advantage_range + 0.5"),
            ("(1 + mixing) * old - mixing", "(1 - mixing) * old - mixing"),
            ("(draws.target - at)).detach()", "(draws.target - at))"),
            ("distance = draws.sigma.square() * distance", "pass"),
            ("value + weight * distance.mean(1)", "value + distance.mean(1)"),
            ('"average": self.average', '"average": self.old'),
        ],
    ),
    "objectives/endpoint.py": (
        "tests/objectives/test_endpoint.py",
        [
            ("(math.sqrt(5) - 1) / 2", "0.5"),
            ("prompt * settings.draws + draw", "draw"),
            ("(1 - level) * images[:, None] + level * drawn", "level * images[:, None] + (1 - level) * drawn"),
        ],
    ),
    "sampling/step_weights.py": (
        "tests/objectives/test_published_objectives.py tests/training/test_step_settings.py",
        [
            ("move.std / abs(move.velocity_coef)", "abs(move.velocity_coef) / move.std"),
            ("return move.std\n", "return move.std**2\n"),
            ("raw_weight(kind, move) / mean", "raw_weight(kind, move)"),
        ],
    ),
    "training/scouting.py": (
        "tests/training/test_scouting.py",
        [
            ("best[: count - count // 2]", "best[: count // 2]"),
            ("if candidate not in chosen", ""),
            ('nan_to_num(-float("inf"))', 'nan_to_num(float("inf"))'),
            ("None if image is None else self.candidates[prompt][image]", "image"),
        ],
    ),
    "data/choice.py": (
        "tests/data/test_choice.py",
        [
            ("self.fresh += new", "self.fresh += len(places)"),
            ("** (1 / own)", ""),
            ("if own > 0", ""),
            ("range(tried.fresh, tried.fresh + new)", "range(iteration * size, iteration * size + new)"),
        ],
    ),
    "objectives/image_credit.py": (
        "tests/objectives/test_image_credit.py tests/training/test_trainer.py",
        [
            ("surprise = surprise - surprise.mean(1, keepdim=True)", "pass"),
            ("(move.std * surprise / scale)", "(surprise / scale)"),
            ("(images - expected[transition.state_of])", "(images + expected[transition.state_of])"),
            ("rollout.latents[transition.images.start : transition.images.stop],", "transition.x_next,"),
        ],
    ),
    "objectives/objective.py": (
        "tests/objectives/test_objective.py",
        [
            ("len(states.union(own)) > micro_batch", "False"),
            ("chosen = images[sorted(positions)]", "chosen = images[positions]"),
        ],
    ),
    "training/update.py": (
        "tests/training/test_update.py tests/training/test_seams.py "
        "tests/training/test_trainer.py::test_the_first_ratio_error_is_that_before_the_first_optimizer_step",
        [
            ("current.detach() if old is None else old[rows],", "current.detach(),"),
            ("for image in part if image.rank == rank]", "for image in part]"),
            ("draw = random.Random(key)", "draw = random.Random(0)"),
            ("if first and loss.ratio_error is not None:", "if loss.ratio_error is not None:"),
            ("(loss.value.sum() / total)", "loss.value.sum()"),
            ("stats.model_rows += len(selection.states)", "stats.model_rows += len(selection.images)"),
            ("if objective.uses_reference and reference", "if False and reference"),
        ],
    ),
    "training/weights.py": (
        "tests/training/test_trained_weights.py tests/training/test_trainer.py::test_two_processes_train_as_one_does",
        [
            ("distributed.sum_tensors(gradient for", "list(gradient for"),
            ("self._settings.max_grad_norm, total_norm)", "1e9, total_norm)"),
            ("values, 1 - self._settings.ema_decay)", "values, self._settings.ema_decay)"),
            ("            betas=settings.betas,\n", ""),
            ("            weight_decay=settings.weight_decay,\n", "            weight_decay=0.0,\n"),
            ("(iteration + 1) / settings.warmup_iterations", "iteration / settings.warmup_iterations"),
            ('1 - iteration / iterations if settings.schedule == "linear" else 1.0', "1.0"),
            ('group["lr"] = rate', "pass"),
            ("self.restore(Snapshot(0, dict(tensors)))", "self.restore(Snapshot(0, {}))"),
            ("                share.copy_(kept)", "                pass"),
        ],
    ),
    "training/policy.py": (
        "tests/training/test_trained_weights.py tests/training/test_trainer.py tests/training/test_policy.py",
        [
            ("if recipe.update.gradient_checkpointing:", "if False:"),
            ("copy.deepcopy(n) for name, n", "n for name, n"),
            ("        network.disable_adapters()", "        pass"),
            ("            network.enable_adapters()", "            pass"),
            ("parameter.data = parameter.data.float()", "pass"),
            ("r=recipe.lora.rank,", "r=4,"),
            ("lora_alpha=recipe.lora.alpha,", "lora_alpha=8,"),
            ("torch.manual_seed(recipe.seed)", "torch.manual_seed(0)"),
        ],
    ),
    "training/trainer.py": (
        "tests/training/test_trainer.py tests/training/test_policy.py tests/training/test_seams.py "
        "tests/training/test_trained_weights.py",
        [
            ("total=minibatch.size * with_skipped * terms_per_image", "total=minibatch.size * terms_per_image"),
            ("total=minibatch.size * with_skipped * terms_per_image", "total=minibatch.size * with_skipped"),
            (
                "self.policy.weights.step(self.learning_rate(k))",
                "self.policy.weights.step(self.recipe.update.learning_rate)",
            ),
            ("stop_if_too_many_failed(everything, self.recipe.scoring.max_failed_fraction)", "pass"),
            ("& has_signal(trained_on)[:, None]", ""),
            ("settings.aggregation, settings.clip, settings.spread)", "settings.aggregation)"),
            ("trained_on = {name: scores[name] for name in weights}", "trained_on = dict(scores)"),
            ("update.minibatches * update.passes > 1", "False"),
            ("KeyedNoise(self.recipe.seed, k, ", "KeyedNoise(self.recipe.seed, 0, "),
            ("enabled=dtype != torch.float32", "enabled=False"),
        ],
    ),
    "training/snapshot.py": (
        "tests/training/test_trainer.py",
        [
            ("local(average[name]).copy_(local(tensor))", "pass"),
            ("moments[name][moment] = tensor", "pass"),
        ],
    ),
    "runs/checkpoints.py": (
        "tests/runs/test_checkpoints.py",
        [
            ("self.iterations()[:-keep]", "self.iterations()[: -keep - 1]"),
            ("if old not in spare:", "if True:"),
            ("if _fingerprint(folder / name) != expected:", "if False:"),
            ("for iteration in reversed(self.iterations()):", "for iteration in self.iterations():"),
            ("if later > iteration:", "if later > iteration + 99:"),
            ("            readable(own)", "            pass"),
        ],
    ),
    "runs/continuation.py": (
        "tests/runs/test_continuation.py",
        [
            ("    if fixed:", "    if False:"),
            ("if iteration is None and damaged:", "if False:"),
            ("if iteration is None and lines:", "if False:"),
            ("elif old != new:", "elif prefix and old != new:"),
        ],
    ),
    "training/scoring.py": (
        "tests/training/test_scoring.py tests/training/test_seams.py",
        [
            ("range(1 + retries)", "range(retries)"),
            (".view(len(prompts), num_frames).mean(1)", ".view(len(prompts), num_frames).amax(1)"),
            ("if failed > max_failed_fraction * count:", "if failed > 2 * max_failed_fraction * count:"),
            ('settings.on_error == "stop":', "True:"),
        ],
    ),
    "training/generation.py": (
        "tests/training/test_generation.py",
        [
            ("prompt_ids=[prompt_ids[i] for i in numbers]", "prompt_ids=None"),
            ("field or model,", "model,"),
        ],
    ),
    "data/prompts.py": (
        "tests/data",
        [
            ("range(iteration * size, (iteration + 1) * size)", "range(iteration, iteration + size)"),
            ('random.Random(f"{seed}/{epoch}")', 'random.Random(f"{seed}")'),
            ("items[i * len(items) // count]", "items[i]"),
        ],
    ),
    "parallel/distributed.py": (
        "tests/training/test_trainer.py::test_two_processes_train_as_one_does tests/parallel/test_distributed.py",
        [
            ("_store = _of_this_start(_store, rank, world_size)", "pass"),
            ("for i in (own, own + 1)]", "for i in (0, 1)]"),
            ("dist.all_reduce(flat)", "pass"),
        ],
    ),
    "parallel/sharding.py": (
        "tests/parallel/test_sharding.py tests/parallel/test_sharded_checkpoints.py",
        [
            ("part.set_gradient_divide_factor(1.0)", "part.set_gradient_divide_factor(2.0)"),
            ("if 2 * held < available and", "if held < available and"),
            ('"full" if per_machine == processes else "hybrid"', '"full"'),
            ("tensor.to_local() if isinstance(tensor, DTensor) else tensor", "tensor"),
        ],
    ),
    "parallel/local.py": (
        "tests/parallel/test_local.py",
        [
            ("if status is not None and status < 0:", "if False:"),
            ("sys.stdin.read()\n    os._exit(1)", "sys.stdin.read()"),
            ("// _threads(), prompts))", "// _threads(), 99))"),
            ('"RANK" in os.environ or torch.accelerator', "torch.accelerator"),
        ],
    ),
    "models/resting.py": (
        "tests/rehearsal/test_iterations.py",
        [
            ("    _replace(waiting, lambda tensor: tensor.to(device, non_blocking=True))", "    pass"),
            ("        setattr(part, name, tensor)", "        pass"),
        ],
    ),
    "recipe/presets.py": (
        "tests/recipe",
        [("filled[section] = {**preset, **own}", "filled[section] = {**own, **preset}")],
    ),
    "recipe/verl.py": (
        "tests/recipe",
        [('window.setdefault("wrap", False)', 'window.setdefault("wrap", True)')],
    ),
    "recipe/layers.py": (
        "tests/recipe",
        [
            ('objective.pop("type", None)', "pass"),
            ("            data.pop(section, None)", "            pass"),
        ],
    ),
    "recipe/pricing.py": (
        "tests/recipe/test_pricing.py tests/cli",
        [
            ('2 if recipe.tune == "lora" else 3', "3"),
            ("DANCEGRPO_FRACTION, recipe.seed)", "1.0, recipe.seed)"),
            ("recipe.renoised, parts).repeated", "recipe.renoised).repeated"),
        ],
    ),
    "models/flux2_klein.py": (
        "tests/models/test_adapters.py",
        [
            ("compute_empirical_mu(rows * columns, num_steps)", "compute_empirical_mu(rows * columns, 10)"),
            ("and model.pipeline.config.is_distilled:", "and model.guidance_scale == 0:"),
            ("vae.config.batch_norm_eps).sqrt() + mean", "vae.config.batch_norm_eps).sqrt()"),
            ("latents * (variance", "latents / (variance"),
            ("vae.decode(_stock_latents(model, latents)", "vae.decode(model.pipeline._unpatchify_latents(latents)"),
            ("transformer.dtype) / 1000", "transformer.dtype)"),
        ],
    ),
    "models/z_image.py": (
        "tests/models/test_adapters.py",
        [
            ("1 + model.guidance", "model.guidance"),
            ("if model.guidance <= 0", "if model.guidance <= 1"),
            ("(1000 - 1000 * sigma.float())", "(1000 * sigma.float())"),
            ("return -torch.stack", "return torch.stack"),
            ("row[:length]", "row"),
            ("scaled(vae, latents.to(vae.dtype))", "latents.to(vae.dtype)"),
        ],
    ),
    "models/qwen_image_21.py": (
        "tests/models/test_adapters.py",
        [
            ('text["embeds"][rows, :length]', 'text["embeds"][rows]'),
            ("x[rows], sigma[rows]", "x[rows], sigma[:1].expand(len(rows))"),
            ("if model.guidance <= 1", "if model.guidance <= 4"),
            (">= embeds.shape[1]", "< tokens // _LATENTS_PER_SLOT"),
            ("velocity[:, -tokens:]", "velocity[:, :tokens]"),
            ("packed_grid(model, num_steps, fixed)", "packed_grid(model, num_steps)"),
            ("transformer.dtype) / 1000", "transformer.dtype)"),
        ],
    ),
    "models/quantized.py": (
        "tests/training/test_quantized.py",
        [
            ("weight.shape[0] * (weight.element_size() + 1)", "weight.shape[0]"),
            ("isinstance(layer, nn.Linear)]", "isinstance(layer, nn.LayerNorm)]"),
            ("return sum(stored_bytes(getattr(tensor, name)) for name in names)", "return tensor.nbytes"),
        ],
    ),
    "runs/check.py": (
        "tests/runs/test_check.py",
        [("fresh.pipeline.load_lora_weights(lora)", "fresh.pipeline.set_progress_bar_config(disable=True)")],
    ),
    "models/common.py": (
        "tests/models/test_adapters.py",
        [
            (
                "unconditional + scale * (conditional - unconditional)",
                "conditional + scale * (conditional - unconditional)",
            ),
            ("(sigma.float() * 1000).to(dtype)", "(sigma.float() * 1000).round().to(dtype)"),
            ("+ vae.config.shift_factor", "- vae.config.shift_factor"),
            ("(images.float() / 2 + 0.5)", "(images.float() / 2 + 0.4)"),
            ("latents * std + mean", "latents * std"),
            ("* alpha + 1 - alpha", "* alpha"),
        ],
    ),
    "models/text_cache.py": (
        "tests/models/test_text_cache.py",
        [
            ("os.utime(path)", "path.stat()"),
            ("left <= 0.9 * self._limit", "left <= 9 * self._limit"),
            ("(self._key + prompt.text)", "prompt.text"),
        ],
    ),
    "report/reading.py": (
        "tests/report",
        [
            ("if len({recipe.get(key) for recipe in recipes}) > 1", "if True"),
            ("iteration * images for", "iteration for"),
            ("before is not None and after is not None and before != after", "before != after"),
            ('mover["before"] - mover["after"]', 'mover["after"] - mover["before"]'),
            ("max(_MOVERS, len(moved) - _MOVERS)", "len(moved) - _MOVERS"),
            ("if failed or retried:", "if failed:"),
        ],
    ),
    "rewards/human/ballot.py": (
        "tests/rewards/human",
        [
            ("if question.name not in self._answers}", "}"),
            ("patience if waits else _SECOND_THOUGHTS", "_SECOND_THOUGHTS"),
            ('self._write({"question": question.name, "undone": True})', "pass"),
            ("del self._answers[question.name]", "pass"),
            ("except json.JSONDecodeError:", "except KeyError:"),
            ('answers.pop(line["question"], None)', "pass"),
        ],
    ),
    "convert/words.py": (
        "tests/convert",
        [
            ('found[1].replace("-", "_")', "found[1]"),
            ("pairs[-1] = (pairs[-1][0], plain(word))", "pass"),
            ('if each and "." in each[1]), 0)', "if each), 0)"),
            ("if len(training) > 1:", "if len(training) > 2:"),
            ("return int(text) if len(text) < 20 else text", "return float(text)"),
        ],
    ),
    "convert/ledger.py": (
        "tests/convert",
        [
            ("for key, value in defaults.items() if key not in given}", "for key, value in defaults.items()}"),
            ("if key not in self.lines]", "]"),
            ("or not 0 < value < _LARGEST", "or not 0 <= value"),
        ],
    ),
}
