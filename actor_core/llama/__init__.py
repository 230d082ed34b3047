"""llama.cpp on the GGUF file that the loaded model came from, with a change as an adapter beside it.

process         the program that imports llama.cpp, ended alone by a fault in native code
server          starts and asks it
conversation    replies one at a time: on a processor about twice as fast as `actor_core.generate`
"""
