"""SMOTE."""
