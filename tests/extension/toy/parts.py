from torch import Tensor, nn

SHARPNESS = 1.0


class Similarity(nn.Module):
    """Clip scores against the mean token, both projected."""

    def __init__(self, video_width: int, text_width: int, width: int) -> None:
        super().__init__()
        self.video, self.text = nn.Linear(video_width, width), nn.Linear(text_width, width)

    def forward(self, video: Tensor, text: Tensor) -> Tensor:
        return SHARPNESS * (self.video(video) * self.text(text.mean(1, keepdim=True))).sum(-1)
