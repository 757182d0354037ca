"""What a run says of itself: progress while it goes, status and samples afterwards, a plan beforehand.

Contract: nothing here changes a run, and nothing here imports torch, Ray, vLLM or Transformers.

See it work: ``selfimprove status RUN``.
"""
