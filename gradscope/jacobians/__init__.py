"""Step Jacobians as structured operators: what a tape is made of.

Convention, here and everywhere: states are vectors s_t of length n; J_t = ∂s_t/∂s_{t−1} is n × n with rows
counting components of s_t; products put the newest factor on the left, ∂s_t/∂s_i = J_t ⋯ J_{i+1}.
"""
