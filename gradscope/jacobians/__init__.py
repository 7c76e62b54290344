"""Step Jacobians as structured operators: what a tape is made of.

Convention, here and everywhere: states are vectors s_t of length n; J_t = ∂s_t/∂s_{t−1} is n × n with rows
counting components of s_t; products put the newest factor on the left, ∂s_t/∂s_i = J_t ⋯ J_{i+1}.

``step_jacobian``: the contract that each keeps: pull, push, dense, and the gradients of its weights and drive.
``row_scaled``: diag(e) + Σ_g diag(c_g) W_g, most cells; ``lstm_jacobian``, ``gru_jacobian``, …: where that will not do.
``four_gates``: what the Jacobians of lstm, projected lstm and slstm share.
``per_unit``, ``rotation``: without a matrix. ``block_triangular``, ``spans``: stacks, and one after another in time.
``around``, ``feedback``, ``linear_feedback``: a step and what was built around it.
``ready``: dense matrices from anywhere.
"""
