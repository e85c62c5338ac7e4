"""The one sampling loop, for every order.

Shapes: B batch, T tokens, C token dim, K condition tokens, D width, S tokens predicted in one iteration.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from novq.config import SamplingConfig
from novq.heads import DDPM
from novq.model import Model
from novq.orders import Plan, gather_tokens, put_tokens
from novq.sampling.guidance import guidance_at
from novq.sampling.noise import NoiseSource


@torch.no_grad()
def sample_tokens(
    model: Model,
    cond_BKD: Tensor,
    plan: Plan,
    noise: NoiseSource,
    settings: SamplingConfig,
    *,
    known_BTC: Tensor | None = None,
    on_iteration: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Tokens (B, T, C), sampled along `plan` under the condition.

    `settings` gives steps, guidance and temperature; the iterations are the plan's. `known_BTC` holds the tokens
    that the plan counts as known. `on_iteration(k, x_BTC)` sees the tokens after each iteration, unknown ones zero.
    """
    batch, num_tokens = plan.order_BT.shape
    token_dim = model.config.tokenizer.token_dim
    x_BTC = torch.zeros(batch, num_tokens, token_dim, dtype=cond_BKD.dtype, device=cond_BKD.device)
    if known_BTC is not None:
        given_BE = plan.order_BT[:, : plan.num_known]
        x_BTC = put_tokens(x_BTC, given_BE, gather_tokens(known_BTC, given_BE).to(x_BTC))
    solver = DDPM(settings.num_steps)
    state = model.backbone.begin(cond_BKD, plan)
    guided = settings.guidance_scale != 1.0
    null_state = model.backbone.begin(model.conditioning.null(batch), plan) if guided else None
    num_masked = sum(plan.sizes)
    for k, positions_BS in enumerate(plan):
        num_masked -= positions_BS.shape[1]
        scale = guidance_at(settings.guidance_schedule, settings.guidance_scale, num_masked, num_tokens)
        z_BSD = model.backbone.condition(state, x_BTC, positions_BS)
        null_BSD = model.backbone.condition(null_state, x_BTC, positions_BS) if null_state else None
        noise_BSRC = noise(positions_BS, 1 + settings.num_steps, token_dim).to(x_BTC)
        x_NC = model.head.sample(
            rearrange(z_BSD, "b s d -> (b s) d"),
            rearrange(noise_BSRC, "b s r c -> (b s) r c"),
            null_ND=rearrange(null_BSD, "b s d -> (b s) d") if null_BSD is not None else None,
            guidance=scale,
            temperature=settings.temperature,
            solver=solver,
        )
        x_BTC = put_tokens(x_BTC, positions_BS, rearrange(x_NC, "(b s) c -> b s c", b=batch))
        if on_iteration is not None:
            on_iteration(k, x_BTC)
    return x_BTC
