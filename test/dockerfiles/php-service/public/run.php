<?php exit;
