"""From a folder to preprocessed samples: index, labels, decode, preprocess, sampling."""
