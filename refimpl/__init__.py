"""The model itself, in NumPy alone: read this folder from top to bottom to port it.

Reading order: `configuration`, `activation`, `parameters`, `state`, `loss`,
`controller`, `dynamics`; the two ways to an end state, by integration
(`runge_kutta`, `euler`, `tsitouras`, `step_control`, `integration`) and by fixed
point (`neuron_equilibrium`, `fixed_point`), joined in `end_state`; the way itself in
`trajectory`; then learning: `feedback`, `plasticity`, `backprop`, `evaluation`,
`optimizer`, `learning_step`. Teacher and student in continuous time, where everything moves
at once, stand apart: `sine_inputs`, `continuous_state`, `continuous_learning`,
`continuous_trajectory`. Sections are those of the model page, docs/model.md.
"""
