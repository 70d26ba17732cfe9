"""One model trained by several processes, on torch.distributed: copies, shards, cut products, stages."""
