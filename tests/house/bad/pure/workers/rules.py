"""The doors are those of the rooms of backend."""

import os
