# The values of scripts/finetune/finetune_flux_grpo.sh in XueZeyue/DanceGRPO.
export WANDB_MODE=online
mkdir -p images
pip3 install trl

torchrun --nnodes=2 --nproc_per_node=8 --node_rank=0 --master_addr=192.168.0.101 --master_port=29500 \
    fastvideo/train_grpo_flux.py \
    --seed 42 --sampler_seed 1223627 \
    --pretrained_model_name_or_path data/flux --vae_model_path data/flux \
    --cache_dir data/.cache --data_json_path data/rl_embeddings/videos2caption.json --output_dir data/outputs/grpo \
    --gradient_checkpointing --allow_tf32 --mixed_precision bf16 --cfg 0.0 \
    --train_batch_size 1 --num_latent_t 1 --sp_size 1 --train_sp_batch_size 1 --dataloader_num_workers 4 \
    --gradient_accumulation_steps 4 --max_train_steps 300 --checkpointing_steps 40 \
    --learning_rate 1e-5 --lr_warmup_steps 0 --max_grad_norm 1.0 --weight_decay 0.0001 \
    --h 720 --w 720 --t 1 --sampling_steps 16 --eta 0.3 --shift 3 \
    --num_generations 12 --use_group --ignore_last --init_same_noise --use_hpsv2 \
    --timestep_fraction 0.6 --clip_range 1e-4 --adv_clip_max 5.0 \
