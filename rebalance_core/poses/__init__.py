"""Dataset → PoseClustering: features, PCA, K-means, elbow, matching across classes."""
