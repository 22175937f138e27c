"""GGUF files: a header that is checked before anything is believed, llama.cpp's conventions undone.

The library ``gguf`` says what types there are, what tensors are called and how blocks are dequantised. Its
reader is not used: it makes an array of every token (12 s for Gemma 3 270M) and trusts the lengths it reads.
"""
