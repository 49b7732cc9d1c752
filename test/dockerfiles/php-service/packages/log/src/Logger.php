<?php
namespace Own\Log;
