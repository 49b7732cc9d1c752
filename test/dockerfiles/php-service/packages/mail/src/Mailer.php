<?php
namespace Own\Mail;
