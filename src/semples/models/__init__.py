"""Networks: the mask generators and the frozen vision-language model."""
