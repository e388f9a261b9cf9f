"""The engine: the training loop. It knows the contract `Game`, but no single game.

    loop         play a round, average, count, save, let the observers look
    update       how players are trained                  clock        progress, random numbers
    average      averaged weights                         checkpoint   state on disk that survives a kill
    observers    log, progress bar, previews              health       what goes wrong, in numbers
    run          the run folder                           processes    several processes, started by torchrun
    precision    device, bf16 or float32, memory layout
"""
