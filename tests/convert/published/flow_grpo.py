"""The values of config/grpo.py:geneval_sd3 and pickscore_sd3_fast_nocfg in yifan123/flow_grpo."""


def common():
    config = base.get_config()
    config.sample.batch_size = 8
    config.prompt_fn = "general_ocr"
    config.per_prompt_stat_tracking = True
    return config


def geneval_sd3():
    gpu_number = 32
    config = common()
    config.dataset = os.path.join(os.getcwd(), "dataset/geneval")
    config.pretrained.model = "stabilityai/stable-diffusion-3.5-medium"
    config.use_lora = True
    config.resolution = 512
    config.sample.num_steps = 10
    config.sample.eval_num_steps = 40
    config.sample.guidance_scale = 4.5
    config.sample.train_batch_size = 9
    config.sample.num_image_per_prompt = 24
    config.sample.num_batches_per_epoch = int(
        48 / (gpu_number * config.sample.train_batch_size / config.sample.num_image_per_prompt)
    )
    assert config.sample.num_batches_per_epoch % 2 == 0
    config.sample.test_batch_size = 14
    config.sample.global_std = True
    config.sample.same_latent = False
    config.train.batch_size = config.sample.train_batch_size
    config.train.gradient_accumulation_steps = config.sample.num_batches_per_epoch // 2
    config.train.num_inner_epochs = 1
    config.train.timestep_fraction = 0.99
    config.train.beta = 0.04
    config.train.ema = True
    config.save_freq = 60
    config.eval_freq = 60
    config.save_dir = f"logs/geneval/sd3.5-M"
    config.reward_fn = {"geneval": 1.0}
    config.prompt_fn = "geneval"
    return config


def pickscore_sd3_fast_nocfg():
    gpu_number = 32
    config = common()
    config.pretrained.model = "stabilityai/stable-diffusion-3.5-medium"
    config.resolution = 512
    config.sample.num_steps = 10
    config.sample.guidance_scale = 1
    config.sample.train_batch_size = 9
    config.sample.num_image_per_prompt = 18
    config.sample.num_batches_per_epoch = int(
        64 / (gpu_number * config.sample.train_batch_size / config.sample.num_image_per_prompt)
    )
    config.train.gradient_accumulation_steps = config.sample.num_batches_per_epoch // 2
    config.train.clip_range = 1e-5
    config.sample.noise_level = 0.8
    config.sample.sde_window_size = 3
    config.sample.sde_window_range = (0, config.sample.num_steps // 2)
    config.sample.sde_type = "cps"
    config.reward_fn = {"pickscore": 1.0}
    return config
