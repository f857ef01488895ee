"""The four training stages of SemPLeS: what each trains and which loss it minimises, nothing else."""
