from .erasing import PersonalData as PersonalData
from .erasing import erase_person as erase_person
from .erasing import holds_personal_data as holds_personal_data
from .exporting import rows_of as rows_of
