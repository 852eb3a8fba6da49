# The values of scripts/finetune/finetune_flux_grpo_MixGRPO.sh in Tencent-Hunyuan/MixGRPO.
model_path="./data/flux"
seed=714
eta=0.7
iters_per_group=25
group_size=4
stride=1
noise_level=None
dpm_algorithm_type="null"
dpm_post_compress_ratio=0.4
wandb_key=""
hostfile="data/hosts/hostfile"
chief=$(head -n 1 $hostfile)

pdsh -R ssh -w ^$hostfile "cd $(pwd) ;
    export WANDB_BASE_URL="https://example.org" ;
    torchrun --nnodes 4 --nproc_per_node 8 --node_rank \$INDEX --master_addr $chief --master_port 24456 \
        fastvideo/train_grpo_flux.py \
        --seed $seed --sampler_seed 7144 --experiment_name 0714_test \
        --pretrained_model_name_or_path $model_path --vae_model_path ${model_path} \
        --cache_dir data/.cache --data_json_path data/rl_embeddings/prompt.json --output_dir data/outputs \
        --gradient_checkpointing --allow_tf32 --mixed_precision bf16 --cfg 0.0 \
        --train_batch_size 1 --num_latent_t 1 --sp_size 1 --train_sp_batch_size 1 --dataloader_num_workers 4 \
        --gradient_accumulation_steps 3 --max_train_steps 300 --checkpointing_steps 50 \
        --learning_rate 1e-5 --lr_warmup_steps 0 --max_grad_norm 1.0 --weight_decay 0.0001 \
        --h 720 --w 720 --t 1 --sampling_steps 25 --eta $eta --shift 3 \
        --num_generations 12 --use_group --ignore_last --init_same_noise \
        --clip_range 1e-4 --adv_clip_max 5.0 --kl_coeff 0.0 --trimmed_ratio 0.0 \
        --training_strategy part --timestep_fraction 0.6 --frozen_init_timesteps -1 \
        --iters_per_group $iters_per_group --group_size $group_size --sample_strategy progressive \
        --prog_overlap --prog_overlap_step $stride --max_iters_per_group 10 --min_iters_per_group 1 --roll_back \
        --reward_model multi_reward --multi_reward_mix advantage_aggr \
        --hps_weight 1.0 --clip_score_weight 1.0 --image_reward_weight 1.0 --pick_score_weight 1.0 \
        --unified_reward_weight 1.0 --unified_reward_url None --unified_reward_num_workers 1 \
        --unified_reward_default_question_type semantic \
        --hps_path ./hps_ckpt/HPS_v2.1_compressed.pt --hps_clip_path ./hps_ckpt/open_clip_pytorch_model.bin \
        --clip_score_path hf-hub:apple/DFN5B-CLIP-ViT-H-14-384 --image_reward_path ./image_reward_ckpt/ImageReward.pt \
        --image_reward_med_config ./image_reward_ckpt/med_config.json \
        --image_reward_http_proxy None --image_reward_https_proxy None \
        --pick_score_http_proxy None --pick_score_https_proxy None \
        --sde_type sde --noise_level $noise_level \
        --dpm_algorithm_type $dpm_algorithm_type --dpm_apply_strategy post \
        --dpm_post_compress_ratio $dpm_post_compress_ratio --dpm_solver_order 2 --dpm_solver_type midpoint \
        --wandb_key $wandb_key \
        --flow_grpo_sampling "
        # --drop_last_sample "
