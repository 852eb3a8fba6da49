from PIL import ImageStat


def brightness(images, prompts, **metadata):
    return [ImageStat.Stat(image.convert("L")).mean[0] / 255 for image in images]
