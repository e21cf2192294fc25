"""Small modules beside a frozen ViT: what is trained of them, the ViT's parameters untouched.

`bottleneck`, `compacter` and `hyperformer` give the weights of an adapter, `adapt` applies them;
`am_flow`, `st_adapter` and `adaptformer` are the kinds of `temporal` that put them beside a ViT's
blocks; `units` process time; `encoder` runs the ViT with what each dataset, or all of them, added.
"""
